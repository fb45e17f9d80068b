/* quant/provenance.c - grokkit.json. */
#include "quant/provenance.h"

bool gk_provenance_put(const gk_plan *p, gk_output *out, const gk_run_result *result,
                       bool inputs_hashed, gk_err *err)
{
    gk_text t = {.indent = 2};

    gk_json_open(&t, NULL, '{');
    gk_json_uint(&t, "schema", 1);
    gk_json_string(&t, "grokkit", GK_VERSION);
    gk_json_string(&t, "plan", p->sha256);
    gk_json_string(&t, "to", p->options.target->name);
    gk_json_string(&t, "method", gk_method_name(p->options.method));
    gk_json_string(&t, "recipe", p->recipe);
    gk_json_open(&t, "input", '[');
    for (uint64_t i = 0; i < p->from->n_inputs; i++) {
        gk_json_open(&t, NULL, '{');
        gk_json_string(&t, "name", p->from->input[i].name);
        gk_json_uint(&t, "bytes", p->from->input[i].file->size);
        if (inputs_hashed)
            gk_json_string(&t, "sha256", result->input[i].sha256);
        gk_json_close(&t, '}');
    }
    gk_json_close(&t, ']');
    gk_json_open(&t, "files", '[');
    for (uint64_t i = 0; i < result->n_files; i++) {
        gk_json_open(&t, NULL, '{');
        gk_json_string(&t, "name", result->file[i].name);
        gk_json_uint(&t, "bytes", result->file[i].bytes);
        gk_json_string(&t, "sha256", result->file[i].sha256[0] ? result->file[i].sha256 : NULL);
        gk_json_close(&t, '}');
    }
    gk_json_close(&t, ']');
    gk_json_close(&t, '}');
    gk_text_char(&t, '\n');
    const bool ok = gk_text_ok(&t, err) && gk_output_put(out, "grokkit.json", t.data, t.len, err);
    gk_text_free(&t);
    return ok;
}
