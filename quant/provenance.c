/* quant/provenance.c - grokkit.json. */
#include "quant/provenance.h"

#include <assert.h>

/* r: NULL before the run; the plan's digest, which is as long, stands for those of files. */
static void add_text(const gk_plan *p, const gk_run_result *r, gk_text *t)
{
    const gk_hash_mode hash = p->options.hash;

    t->indent = 2;
    gk_json_open(t, NULL, '{');
    gk_json_uint(t, "schema", 1);
    gk_json_string(t, "grokkit", GK_VERSION);
    gk_json_string(t, "plan", p->sha256);
    gk_json_string(t, "to", p->options.target->name);
    gk_json_string(t, "method", gk_method_name(p->options.method));
    gk_json_string(t, "recipe", p->recipe);
    gk_json_open(t, "input", '[');
    for (uint64_t i = 0; i < p->from->n_inputs; i++) {
        const gk_input *in = &p->from->input[i];
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "name", in->name);
        gk_json_uint(t, "bytes", in->file->size);
        if (hash == GK_HASH_ALL)
            gk_json_string(t, "sha256", r == NULL ? p->sha256 : r->input[i].sha256);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_json_open(t, "files", '[');
    /* all but itself, which is the last */
    const uint64_t n = p->shards.n + (uint64_t)p->n_texts + gk_plan_extras(p);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t bytes;
        const char *name = gk_plan_file(p, i, &bytes);
        gk_json_open(t, NULL, '{');
        gk_json_string(t, "name", name);
        gk_json_uint(t, "bytes", bytes);
        gk_json_string(t, "sha256",
                       hash == GK_HASH_NONE ? NULL
                       : r == NULL          ? p->sha256
                                            : r->file[i].sha256);
        gk_json_close(t, '}');
    }
    gk_json_close(t, ']');
    gk_json_close(t, '}');
    gk_text_char(t, '\n');
}

bool gk_provenance_size(const gk_plan *p, uint64_t *bytes, gk_err *err)
{
    gk_text t = {0};

    add_text(p, NULL, &t);
    const bool ok = gk_text_ok(&t, err);
    *bytes = t.len;
    gk_text_free(&t);
    return ok;
}

bool gk_provenance_put(const gk_plan *p, gk_output *out, gk_run_result *result, gk_err *err)
{
    gk_run_file *own = &result->file[result->n_files - 1];
    gk_text t = {0};

    add_text(p, result, &t);
    bool ok = gk_text_ok(&t, err);
    assert(!ok || t.len == own->bytes);
    ok = ok && gk_output_put(out, own->name, t.data, t.len, err)
         && (p->options.hash == GK_HASH_NONE || gk_hash_bytes(t.data, t.len, own->sha256, err));
    gk_text_free(&t);
    return ok;
}
