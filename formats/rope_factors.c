/* formats/rope_factors.c - factors of frequencies: computed, and recognized. */
#include "formats/rope_factors.h"

#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

const gk_json *gk_rope_scaling(const gk_json *config, const char **type)
{
    const gk_json *node = gk_json_get(config, "rope_parameters");

    /* transformers 5 writes rope_parameters, before it was rope_scaling */
    if (gk_json_is_null(node))
        node = gk_json_get(config, "rope_scaling");
    *type = gk_json_text(gk_json_get(node, "rope_type"), NULL);
    if (*type == NULL)
        *type = gk_json_text(gk_json_get(node, "type"), NULL);
    return gk_json_is_null(node) ? NULL : node;
}

bool gk_llama3_read(const gk_json *scaling, gk_llama3 *out, gk_err *err)
{
    const struct {
        const char *name;
        double *at;
    } key[] = {{"factor", &out->factor},
               {"low_freq_factor", &out->low},
               {"high_freq_factor", &out->high},
               {"original_max_position_embeddings", &out->context}};

    for (int i = 0; i < 4; i++)
        if (!gk_json_as_real(gk_json_get(scaling, key[i].name), key[i].at)
            || !(*key[i].at > 0 && *key[i].at < 1e12)) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                    "a rope scaling of type llama3 needs a number \"%s\" above 0", key[i].name);
            return gk_fail_at(err, "config.json", NULL);
        }
    if (out->high > out->low)
        return true;
    gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
            "\"high_freq_factor\" %g must be above \"low_freq_factor\" %g", out->high, out->low);
    return gk_fail_at(err, "config.json", NULL);
}

/* As torch does it with a tensor of one float32: Python's numbers are rounded to float32,
 * and a number divided by a tensor is the reciprocal times the number. */
static float factor_of(const gk_llama3 *l, float base, float exponent)
{
    const float context = (float)l->context, low = (float)l->low;
    const float freq = 1 / (float)pow((double)base, (double)exponent);
    const float wave = 1 / freq * (float)(2 * pi);

    if (wave < (float)(l->context / l->high))
        return 1;
    if (wave > (float)(l->context / l->low))
        return (float)l->factor;
    const float smooth = (1 / wave * context - low) / (float)(l->high - l->low);
    return 1 / ((1 - smooth) / (float)l->factor + smooth);
}

void gk_llama3_factors(const gk_llama3 *l, double base, uint64_t head_dim, float *out)
{
    for (uint64_t j = 0; j < head_dim / 2; j++)
        out[j] = factor_of(l, (float)base, (float)(2 * j) / (float)head_dim);
}

static bool gives(const gk_llama3 *l, const float *factors, double base, uint64_t head_dim)
{
    for (uint64_t j = 0; j < head_dim / 2; j++) {
        const float f = factor_of(l, (float)base, (float)(2 * j) / (float)head_dim);
        if (!(fabsf(f - factors[j]) <= 0x1p-20f * f))
            return false;
    }
    return true;
}

bool gk_llama3_guess(const float *factors, double base, uint64_t head_dim, gk_llama3 *out)
{
    gk_llama3 l = {.low = 1, .high = 4, .context = 8192};

    for (uint64_t j = 0; j < head_dim / 2; j++)
        l.factor = fmax(l.factor, (double)factors[j]);
    if (!(l.factor > 1) || !isfinite(l.factor) || !(base > 1))
        return false;
    *out = l;
    if (gives(&l, factors, base, head_dim))
        return true;
    for (l.high = 2; l.high <= 64; l.high *= 2)
        for (l.context = 16; l.context <= 0x1p20; l.context *= 2)
            if (gives(&l, factors, base, head_dim)) {
                *out = l;
                return true;
            }
    return false;
}
