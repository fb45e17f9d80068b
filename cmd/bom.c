/* cmd/bom.c - CycloneDX 1.6, by schema/bom-1.6.schema.json of CycloneDX/specification. */
#include "cmd/bom.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/gguf.h"
#include "quant/model.h"
#include "verify/checksums.h"

#define N_KINDS         64
#define MAX_MADE_BYTES  (16u << 20)

static void property(gk_text *out, const char *name, const char *value)
{
    gk_json_open(out, NULL, '{');
    gk_json_string(out, "name", name);
    gk_json_string(out, "value", value);
    gk_json_close(out, '}');
}

static void number(gk_text *out, const char *name, uint64_t value)
{
    char text[32];

    snprintf(text, sizeof text, "%" PRIu64, value);
    property(out, name, text);
}

static void sha256(gk_text *out, const char *hex)
{
    gk_json_open(out, "hashes", '[');
    gk_json_open(out, NULL, '{');
    gk_json_string(out, "alg", "SHA-256");
    gk_json_string(out, "content", hex);
    gk_json_close(out, '}');
    gk_json_close(out, ']');
}

/* ---- the model ---------------------------------------------------------------------- */

static void add_sizes(const gk_catalog *c, gk_text *out)
{
    struct {
        const char *name;
        uint64_t    bytes;
    } kind[N_KINDS];
    uint64_t parameters = 0, bytes = 0;
    char name[128];
    int n = 0;

    for (uint64_t i = 0; i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        const char *what = gk_tensor_kind(t);
        int k = 0;
        parameters += gk_rows(t) * gk_cols(t);
        bytes += gk_tensor_bytes(t);
        while (k < n && strcmp(kind[k].name, what) != 0)
            k++;
        if (k == N_KINDS)
            continue;
        if (k == n) {
            kind[n].name = what;
            kind[n++].bytes = 0;
        }
        kind[k].bytes += gk_tensor_bytes(t);
    }
    property(out, "grokkit:format", c->format);
    number(out, "grokkit:tensors", c->n_tensors);
    number(out, "grokkit:parameters", parameters);
    number(out, "grokkit:bytes", bytes);
    for (int k = 0; k < n; k++) {
        snprintf(name, sizeof name, "grokkit:bytes:%s", kind[k].name);
        number(out, name, kind[k].bytes);
    }
}

/* A GGUF may state a licence; a directory has a file, whose text is not judged here. */
static void add_licence(const gk_catalog *c, gk_arena *a, gk_text *out, gk_err *err)
{
    uint64_t len = 0;
    const char *name = c->gguf == NULL ? NULL
                                       : gk_gguf_string(c->gguf, "general.license", a, &len, err);

    for (uint64_t i = 0; name == NULL && i < c->n_extras; i++)
        if (strncmp(c->extra[i].name, "LICENSE", 7) == 0)
            name = gk_arena_printf(a, err, "see the file %s", c->extra[i].name);
    if (name == NULL)
        return;
    gk_json_open(out, "licenses", '[');
    gk_json_open(out, NULL, '{');
    gk_json_open(out, "license", '{');
    gk_json_string(out, "name", name);
    gk_json_close(out, '}');
    gk_json_close(out, '}');
    gk_json_close(out, ']');
}

/* The files that it was made of, and by what: grokkit.json. */
static void add_ancestry(const gk_json *made, gk_text *out)
{
    const gk_json *inputs = gk_json_get(made, "input");
    const char *version = gk_json_text(gk_json_get(made, "grokkit"), NULL);
    const char *to = gk_json_text(gk_json_get(made, "to"), NULL);
    char notes[256];

    if (gk_json_count(inputs) == 0)
        return;
    snprintf(notes, sizeof notes, "made by grokkit %.32s as %.64s of these files",
             version == NULL ? "" : version, to == NULL ? "" : to);
    gk_json_open(out, "pedigree", '{');
    gk_json_open(out, "ancestors", '[');
    for (uint64_t i = 0; i < gk_json_count(inputs); i++) {
        const gk_json *one = gk_json_at(inputs, i);
        const char *name = gk_json_text(gk_json_get(one, "name"), NULL);
        const char *hex = gk_json_text(gk_json_get(one, "sha256"), NULL);
        gk_json_open(out, NULL, '{');
        gk_json_string(out, "type", "file");
        gk_json_string(out, "name", name == NULL ? "" : name);
        if (hex != NULL && strlen(hex) == 64)
            sha256(out, hex);
        gk_json_close(out, '}');
    }
    gk_json_close(out, ']');
    gk_json_string(out, "notes", notes);
    gk_json_close(out, '}');
}

static void add_card(const char *arch, gk_text *out)
{
    gk_json_open(out, "modelCard", '{');
    gk_json_open(out, "modelParameters", '{');
    gk_json_string(out, "task", "text-generation");
    gk_json_string(out, "architectureFamily", "transformer");
    gk_json_string(out, "modelArchitecture", arch);
    for (int i = 0; i < 2; i++) {
        gk_json_open(out, i == 0 ? "inputs" : "outputs", '[');
        gk_json_open(out, NULL, '{');
        gk_json_string(out, "format", "text");
        gk_json_close(out, '}');
        gk_json_close(out, ']');
    }
    gk_json_close(out, '}');
    gk_json_close(out, '}');
}

static bool add_model(const gk_catalog *c, const char *arch, gk_arena *a, gk_text *out, gk_err *err)
{
    const char *place = c->directory != NULL ? c->directory : c->path;
    const char *real = gk_path_real(a, place, err);
    gk_err own = {0};
    uint64_t len = 0;
    gk_file *f = gk_catalog_has(a, c, "grokkit.json") ? gk_catalog_file(a, c, "grokkit.json", &own)
                                                      : NULL;
    char *text = f == NULL ? NULL : gk_file_text(f, MAX_MADE_BYTES, &len, &own);
    gk_json *made = text == NULL ? NULL : gk_json_parse(text, len, "grokkit.json", &own);

    if (real != NULL) {
        gk_json_open(out, "component", '{');
        gk_json_string(out, "type", "machine-learning-model");
        gk_json_string(out, "bom-ref", "model");
        gk_json_string(out, "name", gk_path_base(real));
        add_licence(c, a, out, err);
        add_ancestry(made, out);
        add_card(arch, out);
        gk_json_open(out, "properties", '[');
        add_sizes(c, out);
        gk_json_close(out, ']');
        gk_json_close(out, '}');
    }
    gk_json_free(made);
    gk_free(text);
    gk_file_close(f);
    return real != NULL && err->code == GK_OK;
}

/* ---- files -------------------------------------------------------------------------- */

static void add_file(const gk_sums *s, const char *name, uint64_t bytes, gk_text *out)
{
    const gk_sum *listed = NULL;
    gk_text ref = {0};

    for (uint64_t i = 0; listed == NULL && i < s->n; i++)
        if (s->row[i].of == GK_SUM_FILE && s->row[i].kind == GK_HASH_SHA256
            && s->row[i].expected[0] != '\0' && strcmp(s->row[i].name, name) == 0)
            listed = &s->row[i];
    gk_text_printf(&ref, "file:%s", name);
    gk_json_open(out, NULL, '{');
    gk_json_string(out, "type", "file");
    gk_json_string(out, "bom-ref", ref.data);
    gk_json_string(out, "name", name);
    if (listed != NULL)
        sha256(out, listed->expected);
    gk_json_open(out, "properties", '[');
    number(out, "grokkit:bytes", bytes);
    if (listed != NULL)
        property(out, "grokkit:listed-by", listed->source);
    gk_json_close(out, ']');
    gk_json_close(out, '}');
    out->failed |= ref.failed;
    gk_text_free(&ref);
}

static void depends_on(const char *name, gk_text *out)
{
    gk_text ref = {0};

    gk_text_printf(&ref, "file:%s", name);
    gk_json_string(out, NULL, ref.data);
    out->failed |= ref.failed;
    gk_text_free(&ref);
}

/* Weight files, the config and what lies beside them: each once as a component (deep false),
 * once as a name. */
static void add_files(const gk_catalog *c, gk_arena *a, const gk_sums *s, bool names, gk_text *out)
{
    for (uint64_t i = 0; i < c->n_inputs; i++)
        if (names)
            depends_on(c->input[i].name, out);
        else
            add_file(s, c->input[i].name, c->input[i].file->size, out);
    if (c->config_text != NULL && gk_catalog_has(a, c, "config.json")) {
        if (names)
            depends_on("config.json", out);
        else
            add_file(s, "config.json", c->config_len, out);
    }
    for (uint64_t i = 0; i < c->n_extras; i++)
        if (names)
            depends_on(c->extra[i].name, out);
        else
            add_file(s, c->extra[i].name, c->extra[i].bytes, out);
}

static void add_tool(gk_text *out)
{
    gk_json_open(out, "tools", '{');
    gk_json_open(out, "components", '[');
    gk_json_open(out, NULL, '{');
    gk_json_string(out, "type", "application");
    gk_json_string(out, "name", "grokkit");
    gk_json_string(out, "version", GK_VERSION);
    gk_json_close(out, '}');
    gk_json_close(out, ']');
    gk_json_close(out, '}');
}

bool gk_bom_add(gk_catalog *c, const char *arch, gk_text *out, gk_err *err)
{
    gk_sums s;

    if (!gk_sums_init(&s, err) || !gk_sums_find(c, &s, err))
        return gk_sums_free(&s), false;
    out->indent = 2;
    gk_json_open(out, NULL, '{');
    gk_json_string(out, "bomFormat", "CycloneDX");
    gk_json_string(out, "specVersion", "1.6");
    gk_json_uint(out, "version", 1);
    gk_json_open(out, "metadata", '{');
    add_tool(out);
    const bool ok = add_model(c, arch, s.arena, out, err);
    gk_json_close(out, '}');
    gk_json_open(out, "components", '[');
    add_files(c, s.arena, &s, false, out);
    gk_json_close(out, ']');
    gk_json_open(out, "dependencies", '[');
    gk_json_open(out, NULL, '{');
    gk_json_string(out, "ref", "model");
    gk_json_open(out, "dependsOn", '[');
    add_files(c, s.arena, &s, true, out);
    gk_json_close(out, ']');
    gk_json_close(out, '}');
    gk_json_close(out, ']');
    gk_json_close(out, '}');
    gk_text_char(out, '\n');
    gk_sums_free(&s);
    return ok && gk_text_ok(out, err);
}
