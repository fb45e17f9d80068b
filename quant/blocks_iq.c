/* quant/blocks_iq.c - ggml's IQ4_NL and IQ4_XS: 4-bit codes into a table of 16 values.
 *
 *     IQ4_NL  32 elements   d codes[16]                           d * table[q]
 *     IQ4_XS  256 elements  d high[2] low[4] codes[128]           d * (l - 32) * table[q]
 *
 * In a group of 32, byte j holds element j (low) and element 16 + j (high). IQ4_XS has a 6-bit
 * scale l for each of its eight groups: low four bits in `low`, two a byte, high two bits in
 * `high`, lowest first. Source: ggml-org/ggml src/ggml-quants.c (quantize_row_iq4_nl_impl with
 * seven tries to each side, as llama-quantize calls it) @d99724f. */
#include <math.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/blocks_rows.h"
#include "quant/blocks_search.h"

#define SUPER    256
#define GROUP    32
#define N_GROUPS (SUPER / GROUP)

static const int8_t table[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                 1,    13,   25,  38,  53,  69,  89,  113};

/* Half-way between neighbours of the table; a tie belongs to the upper one. Near each of these
 * ggml's two differences are exact, so comparing with them decides the same. */
static const float middle[15] = {-115.5f, -93.5f, -74.0f, -57.0f, -42.0f, -28.5f, -16.0f, -4.5f,
                                 7.0f,    19.0f,  31.5f,  45.5f,  61.0f,  79.0f,  101.0f};

/* Returns the index of the table's value next to x; the last for NaN. */
static inline int nearest_index(float x)
{
    int index = 0;

    for (int k = 0; k < 15; k++)
        index += !(x < middle[k]);
    return index;
}

/* ---- the search: candidates side by side ------------------------------------------ */

#define TRIES 16 /* the largest magnitude lands on +127, then on -134, -133 .. -120 */

/* The first of the elements with the largest magnitude. */
static float extreme(const float *x)
{
    float most = 0, found = 0;

    for (int i = 0; i < GROUP; i++)
        if (fabsf(x[i]) > most) {
            most = fabsf(x[i]);
            found = x[i];
        }
    return found;
}

/* value[t] = the table's value next to inv[t] * x. */
static void nearest_values(const float *inv, float x, float *value)
{
    for (int t = 0; t < TRIES; t++)
        value[t] = (float)table[0];
    for (int k = 0; k < 15; k++) {
        const float gap = (float)(table[k + 1] - table[k]);
        for (int t = 0; t < TRIES; t++)
            value[t] += inv[t] * x < middle[k] ? 0 : gap;
    }
}

/* Returns the scale of a group under its weights, 0 for a group below 1e-15. */
static float search(const float *x, const float *w)
{
    const float peak = extreme(x);
    float inv[TRIES], xq[TRIES] = {0}, qq[TRIES] = {0}, value[TRIES];

    if (fabsf(peak) < 1e-15f)
        return 0;
    inv[0] = 1 / (-peak / (float)table[0]);
    for (int t = 1; t < TRIES; t++)
        inv[t] = (float)(t - 8 + table[0]) / peak;
    for (int i = 0; i < GROUP; i++) {
        nearest_values(inv, x[i], value);
        for (int t = 0; t < TRIES; t++) {
            const float wq = w[i] * value[t];
            xq[t] += wq * x[i];
            qq[t] += wq * value[t];
        }
    }
    float scale = qq[0] > 0 ? xq[0] / qq[0] : 0, best = scale * xq[0];
    for (int t = 1; t < TRIES; t++)
        if (qq[t] > 0 && xq[t] * xq[t] > best * qq[t]) {
            scale = xq[t] / qq[t];
            best = scale * xq[t];
        }
    return scale;
}

/* Weights of n elements whose search sees them as one: x * x, or with importance v
 * v * sqrt(2 * mean + x * x). */
static void weigh(const float *x, int n, const float *v, float *w)
{
    float sum = 0;

    for (int i = 0; i < n; i++) {
        w[i] = x[i] * x[i];
        sum += w[i];
    }
    if (v == NULL)
        return;
    sum *= 2.0f / (float)n;
    for (int i = 0; i < n; i++)
        w[i] = v[i] * sqrtf(sum + x[i] * x[i]);
}

/* ---- codes of one group ------------------------------------------------------------ */

static void encode_codes(const float *x, float inv, unsigned char *out)
{
    for (int i = 0; i < 16; i++)
        out[i] = (unsigned char)(nearest_index(inv * x[i]) | nearest_index(inv * x[16 + i]) << 4);
}

static void decode_codes(const unsigned char *in, float scale, float *out)
{
    for (int i = 0; i < 16; i++) {
        out[i] = scale * (float)table[in[i] & 15];
        out[16 + i] = scale * (float)table[in[i] >> 4];
    }
}

/* ---- IQ4_NL ------------------------------------------------------------------------ */

typedef struct iq4_nl {
    unsigned char d[2];
    unsigned char codes[16];
} iq4_nl;

_Static_assert(sizeof(iq4_nl) == 2 + 16, "IQ4_NL");

static void encode_iq4_nl(const float *x, uint64_t n, const float *v, unsigned char *out)
{
    iq4_nl *q = (iq4_nl *)out;
    float w[GROUP];

    for (uint64_t i = 0; i < n; i += GROUP, q++) {
        weigh(x + i, GROUP, v != NULL ? v + i : NULL, w);
        const float d = search(x + i, w);
        gk_store_f16(q->d, d);
        encode_codes(x + i, d != 0 ? 1 / d : 0, q->codes);
    }
}

static void decode_iq4_nl(const unsigned char *in, uint64_t n, float *out)
{
    const iq4_nl *q = (const iq4_nl *)in;

    for (uint64_t i = 0; i < n; i += GROUP, q++)
        decode_codes(q->codes, gk_load_f16(q->d), out + i);
}

static bool valid_iq4_nl(const unsigned char *in, uint64_t n)
{
    const iq4_nl *q = (const iq4_nl *)in;

    for (uint64_t i = 0; i < n / GROUP; i++)
        if (!gk_finite_f16(q[i].d))
            return false;
    return true;
}

/* ---- IQ4_XS ------------------------------------------------------------------------ */

typedef struct iq4_xs {
    unsigned char d[2];
    unsigned char high[2];
    unsigned char low[4];
    unsigned char codes[128];
} iq4_xs;

_Static_assert(sizeof(iq4_xs) == 2 + 2 + 4 + 128, "IQ4_XS");

static void pack_scales(const int *scale, iq4_xs *q)
{
    uint16_t high = 0;

    memset(q->low, 0, sizeof q->low);
    for (int g = 0; g < N_GROUPS; g++) {
        const int l = scale[g] + 32;
        q->low[g / 2] |= (unsigned char)((l & 15) << g % 2 * 4);
        high |= (uint16_t)(l >> 4 << 2 * g);
    }
    memcpy(q->high, &high, sizeof high);
}

/* The f16 that is stored and the d that the codes are made with differ by a rounding. */
static void encode_super(const float *x, const float *v, iq4_xs *q)
{
    float w[SUPER], scale[N_GROUPS], most = 0, widest = 0;
    int l[N_GROUPS];

    weigh(x, SUPER, v, w);
    for (int g = 0; g < N_GROUPS; g++) {
        scale[g] = search(x + GROUP * g, w + GROUP * g);
        if (fabsf(scale[g]) > most) {
            most = fabsf(scale[g]);
            widest = scale[g];
        }
    }
    const float d = -widest / 32;
    const float inv = d != 0 ? 1 / d : 0;
    gk_store_f16(q->d, d);
    for (int g = 0; g < N_GROUPS; g++) {
        l[g] = gk_clamp(gk_nearest(inv * scale[g]), -32, 31);
        const float unit = d * (float)l[g];
        encode_codes(x + GROUP * g, unit != 0 ? 1 / unit : 0, q->codes + 16 * g);
    }
    pack_scales(l, q);
}

static void encode_iq4_xs(const float *x, uint64_t n, const float *v, unsigned char *out)
{
    iq4_xs *q = (iq4_xs *)out;

    for (uint64_t i = 0; i < n; i += SUPER, q++)
        encode_super(x + i, v != NULL ? v + i : NULL, q);
}

static void decode_iq4_xs(const unsigned char *in, uint64_t n, float *out)
{
    const iq4_xs *q = (const iq4_xs *)in;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        const float d = gk_load_f16(q->d);
        const int high = gk_load_u16(q->high);
        for (int g = 0; g < N_GROUPS; g++) {
            const int l = (q->low[g / 2] >> g % 2 * 4 & 15) | (high >> 2 * g & 3) << 4;
            decode_codes(q->codes + 16 * g, d * (float)(l - 32), out + i + GROUP * g);
        }
    }
}

static bool valid_iq4_xs(const unsigned char *in, uint64_t n)
{
    const iq4_xs *q = (const iq4_xs *)in;

    for (uint64_t i = 0; i < n / SUPER; i++)
        if (!gk_finite_f16(q[i].d))
            return false;
    return true;
}

/* ---- rows of the table -------------------------------------------------------------- */

const gk_blocks GK_BLOCKS_NAME(gk_blocks_iq4_nl) = {GK_IQ4_NL, encode_iq4_nl, decode_iq4_nl, valid_iq4_nl, false};
const gk_blocks GK_BLOCKS_NAME(gk_blocks_iq4_xs) = {GK_IQ4_XS, encode_iq4_xs, decode_iq4_xs, valid_iq4_xs, false};
