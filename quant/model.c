/* quant/model.c - opening a model, decoding any rectangle of it. */
#include "quant/model.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/grok2.h"
#include "formats/output.h"
#include "formats/text.h"
#include "quant/blocks.h"
#include "quant/layout.h"
#include "quant/through.h"

gk_catalog *gk_model_open_with(const char *path, const gk_open_options *options, gk_err *err)
{
    gk_catalog *c = gk_catalog_open_with(path, options, err);

    if (c == NULL || (gk_layout_adopt(c, err) && gk_grok2_check(c, err)))
        return c;
    gk_catalog_close(c);
    return NULL;
}

gk_catalog *gk_model_open(const char *path, gk_err *err)
{
    return gk_model_open_with(path, NULL, err);
}

gk_catalog *gk_model_open_whole(const char *path, gk_err *err)
{
    gk_catalog *c = gk_model_open(path, err);

    if (c == NULL || gk_findings_refuse(&c->findings, err))
        return c;
    gk_catalog_close(c);
    return NULL;
}

static bool drop_auto_map(gk_catalog *c, gk_text *left, gk_err *err)
{
    static const char *const drop[] = {"auto_map"};
    gk_text text = {0};

    if (c->config_text == NULL || gk_json_get(c->config, drop[0]) == NULL)
        return true;
    if (!gk_json_splice(&text, c->config_text, c->config_len, drop, 1, "", err)
        || !gk_text_ok(&text, err)) {
        gk_text_free(&text);
        return gk_fail_at(err, "config.json", NULL);
    }
    gk_free(c->config_text);
    c->config_text = text.data;
    c->config_len = text.len;
    gk_text_printf(left, "%sauto_map in config.json", left->len > 0 ? ", " : "");
    return true;
}

bool gk_model_drop_code(gk_catalog *c, const char **left, gk_err *err)
{
    gk_text list = {0};
    uint64_t n = 0;

    *left = NULL;
    for (uint64_t i = 0; c->renamed && i < c->n_extras; i++) {
        const char *name = c->extra[i].name;
        if (gk_ends_with(name, ".py") && strncmp(name, "tokenization_", 13) != 0)
            gk_text_printf(&list, "%s%s", list.len > 0 ? ", " : "", name);
        else
            c->extra[n++] = c->extra[i];
    }
    if (c->renamed)
        c->n_extras = n;
    bool ok = (!c->renamed || drop_auto_map(c, &list, err)) && gk_text_ok(&list, err);
    if (ok && list.len > 0) {
        *left = gk_arena_str(c->arena, list.data, err);
        ok = *left != NULL;
    }
    gk_text_free(&list);
    return ok;
}

bool gk_model_apart(const gk_catalog *c, const char *out, gk_err *err)
{
    bool ok = gk_output_apart(out, c->path, err)
              && (c->directory == NULL || gk_output_apart(out, c->directory, err));

    /* the paths of an archive's members are names in it: the archive is the model */
    for (uint64_t i = 0; ok && c->archive == NULL && i < c->n_inputs; i++)
        ok = gk_output_apart(out, c->input[i].file->path, err);
    for (uint64_t i = 0; ok && i < c->n_extras; i++)
        ok = c->extra[i].path == NULL || gk_output_apart(out, c->extra[i].path, err);
    return ok;
}

bool gk_model_output_allowed(const gk_catalog *c, const char *out, bool force, gk_err *err)
{
    return gk_output_allowed(out, c->path, force, err) && gk_model_apart(c, out, err);
}

const char *gk_tensor_kind(const gk_tensor *t)
{
    return t->scheme != NULL ? t->scheme->name : gk_dtype_get((gk_dtype)t->dtype)->name;
}

bool gk_has_codec(gk_dtype dtype)
{
    return !gk_dtype_is_block(dtype) || gk_blocks_of(dtype) != NULL;
}

bool gk_can_decode(const gk_tensor *t)
{
    return t->n_parts > 0
           && (t->scheme != NULL || t->dtype == GK_BF16 || t->dtype == GK_F16 || t->dtype == GK_F32
               || t->dtype == GK_F64 || gk_blocks_of((gk_dtype)t->dtype) != NULL);
}

bool gk_fail_decode(const gk_catalog *c, const gk_tensor *t, gk_err *err)
{
    gk_part_room room;
    const char *file = NULL;

    if (t->n_parts > 0 && gk_part_of(t, 0, &room)->n_pieces > 0)
        file = c->input[gk_part_of(t, 0, &room)->piece[0].stored->input].name;
    if (t->n_parts == 0)
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "an incomplete tensor's values cannot be computed with here");
    else if (t->scheme == NULL && !gk_has_codec((gk_dtype)t->dtype))
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "its values cannot be read: there is no codec for %s, whose blocks can only be "
                "kept as they are, in a GGUF", gk_tensor_kind(t));
    else
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF, "%s values cannot be computed with here",
                gk_tensor_kind(t));
    return gk_fail_at(err, file, t->name);
}

uint64_t gk_decode_scratch_bytes(const gk_tensor *t, uint64_t n_rows, uint64_t n_cols)
{
    const gk_scheme noise = gk_through_scheme(t->through, n_cols);
    const uint64_t through = t->through == 0 ? 0 : gk_through_scratch(&noise, n_rows, n_cols);

    return gk_max(through, t->scheme != NULL ? gk_layout_read_scratch(t, n_rows, n_cols)
                                             : n_rows * gk_row_bytes((gk_dtype)t->dtype, n_cols));
}

/* To the nearest f32, which must not be infinite where the value is not. */
static bool round_f64(const gk_tensor *t, const gk_tile *tile, const unsigned char *in, float *out,
                      gk_err *err)
{
    for (uint64_t i = 0; i < tile->n_rows * tile->n_cols; i++) {
        const uint64_t bits = gk_load_u64(in + 8 * i);
        double v;
        memcpy(&v, &bits, sizeof v);
        out[i] = (float)v;
        if (isinf(out[i]) && !isinf(v)) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                    "%g at row %" PRIu64 ", column %" PRIu64 " is beyond what f32 holds", v,
                    tile->row + i / tile->n_cols, tile->col + i % tile->n_cols);
            return gk_fail_at(err, NULL, t->name);
        }
    }
    return true;
}

static bool decode(const gk_catalog *c, const gk_tensor *t, const uint64_t rect[4], float *out,
               void *scratch, gk_err *err)
{
    const gk_tile tile = {rect[0], rect[1], rect[2], rect[3]};

    if (!gk_can_decode(t))
        return gk_fail_decode(c, t, err);
    if (t->scheme != NULL)
        return gk_layout_read(c, t, &tile, out, scratch, err) || gk_fail_at(err, NULL, t->name);
    if (t->dtype == GK_F32)
        return gk_read_part(c, t, 0, rect[0], rect[1], rect[2], rect[3], out, err);
    if (!gk_read_part(c, t, 0, rect[0], rect[1], rect[2], rect[3], scratch, err))
        return false;
    if (t->dtype == GK_F64)
        return round_f64(t, &tile, scratch, out, err);
    const gk_blocks *blocks = gk_blocks_of((gk_dtype)t->dtype);
    if (blocks != NULL)
        blocks->decode(scratch, rect[1] * rect[3], out);
    else
        gk_floats((gk_dtype)t->dtype, scratch, rect[1] * rect[3], out);
    return true;
}

bool gk_decode(const gk_catalog *c, const gk_tensor *t, const uint64_t rect[4], float *out,
               void *scratch, gk_err *err)
{
    if (!decode(c, t, rect, out, scratch, err))
        return false;
    if (t->through > 0) {
        const gk_scheme noise = gk_through_scheme(t->through, rect[3]);
        gk_through(&noise, rect[1], rect[3], out, scratch);
    }
    return true;
}
