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
#include "quant/blocks_lanes.h"
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

/* ---- the search: a group in each lane --------------------------------------------- */

#define TRIES 16 /* the largest magnitude lands on +127, then on -134, -133 .. -120 */
#define STEP  3  /* tries that share the loads of a pass */

/* x, its weight, and what tries choose from. The tries 1..15, -134..-120 divided by the extreme,
 * differ by less than two middles of one sign do, so that an element passes at most one: below
 * and above that middle its terms of both sums are known. */
typedef struct search_state {
    lanes x[GROUP], w[GROUP];
    lanes turn[GROUP];                 /* the middle                           */
    lanes xq_low[GROUP], xq_up[GROUP]; /* w * value * x                        */
    lanes qq_low[GROUP], qq_up[GROUP]; /* w * value * value                    */
    lanes inv[TRIES], xq[TRIES], qq[TRIES];
    ints zero; /* no |x| reaches 1e-15 */
} search_state;

/* Minus the index of the table's value next to x (the last for NaN), and for AVX2 whether it is in
 * the upper half. */
INLINED ints minus_index(lanes x, ints *upper_half)
{
#if LANES == 8
    /* halves the table four times; what index k chooses lies at -k modulo 4 or 8 */
    static const float third[8] = {-93.5f, 79.0f, 19.0f, -28.5f, -93.5f, 79.0f, 19.0f, -28.5f};
    static const float fourth[8] = {-115.5f, 101.0f, 61.0f, 31.5f, 7.0f, -16.0f, -42.0f, -74.0f};
    *upper_half = ~(x < middle[7]);
    ints k = *upper_half + *upper_half;
    k += ~(x < pick(*upper_half, splat(middle[11]), splat(middle[3])));
    lanes turn = _mm256_permutevar_ps(load_lanes(third), (__m256i)k);
    k += k + ~(x < turn);
    turn = _mm256_permutevar8x32_ps(load_lanes(fourth), (__m256i)k);
    return k + k + ~(x < turn);
#else
    ints k = {0};

    for (int m = 0; m < 15; m++)
        k += ~(x < middle[m]);
    *upper_half = k;
    return k;
#endif
}

/* The table's value next to x, which is a number. */
INLINED lanes nearest_value(lanes x)
{
#if LANES == 8
    static const float low[8] = {-127, -10, -22, -35, -49, -65, -83, -104};
    static const float up[8] = {1, 113, 89, 69, 53, 38, 25, 13};
    ints upper_half;
    const ints k = minus_index(x, &upper_half);
    return pick(upper_half, _mm256_permutevar8x32_ps(load_lanes(up), (__m256i)k),
                _mm256_permutevar8x32_ps(load_lanes(low), (__m256i)k));
#else
    lanes value = splat((float)table[0]);

    for (int k = 0; k < 15; k++)
        value += (lanes)((x >= middle[k]) & (ints)splat((float)(table[k + 1] - table[k])));
    return value;
#endif
}

/* x * x, or with importance v * sqrt(mean + x * x); mean: one a group, NULL for twice the mean
 * of the group's own squares. */
static void weigh(search_state *s, int n_groups, const float *v, const float *mean)
{
    lanes sum = {0};

    for (int i = 0; i < GROUP; i++) {
        s->w[i] = s->x[i] * s->x[i];
        sum += s->w[i];
    }
    if (v == NULL)
        return;
    sum *= 2.0f / (float)GROUP;
    for (int g = 0; mean != NULL && g < LANES; g++)
        sum[g] = mean[g < n_groups ? g : 0];
    load_groups(v, n_groups, GROUP, s->turn);
    for (int i = 0; i < GROUP; i++)
        s->w[i] = s->turn[i] * square_root(sum + s->x[i] * s->x[i]);
}

/* Everything of a group that tries share, and try 0. A lane of zeros gets an extreme that does no
 * harm. */
static void begin(search_state *s)
{
    lanes peak = extreme_lanes(s->x, GROUP);

    s->zero = absolute(peak) < 1e-15f;
    peak = pick(s->zero, splat(1), peak);
    s->inv[0] = 1 / (-peak / (float)table[0]);
    for (int t = 1; t < TRIES; t++)
        s->inv[t] = splat((float)(t - 8 + table[0])) / peak;
    lanes xq = {0}, qq = {0};
    for (int i = 0; i < GROUP; i++) {
        const lanes x = s->x[i], w = s->w[i];
        const lanes first = nearest_value(s->inv[0] * x);
        const lanes a = nearest_value(s->inv[1] * x), b = nearest_value(s->inv[TRIES - 1] * x);
        const lanes low = lower(a, b), up = upper(a, b);
        s->turn[i] = (a + b) * 0.5f; /* exact */
        s->xq_low[i] = w * low * x;
        s->qq_low[i] = w * low * low;
        s->xq_up[i] = w * up * x;
        s->qq_up[i] = w * up * up;
        xq += w * first * x;
        qq += w * first * first;
    }
    s->xq[0] = xq;
    s->qq[0] = qq;
}

/* The sums of STEP tries from t on. */
static void more_tries(search_state *s, int t)
{
    lanes inv[STEP], xq[STEP], qq[STEP];

    for (int k = 0; k < STEP; k++) {
        inv[k] = s->inv[t + k];
        xq[k] = qq[k] = splat(0);
    }
    for (int i = 0; i < GROUP; i++) {
        const lanes x = s->x[i], turn = s->turn[i];
        for (int k = 0; k < STEP; k++) {
            const ints below = is_negative(inv[k] * x - turn);
            xq[k] += pick(below, s->xq_low[i], s->xq_up[i]);
            qq[k] += pick(below, s->qq_low[i], s->qq_up[i]);
        }
    }
    memcpy(s->xq + t, xq, sizeof xq);
    memcpy(s->qq + t, qq, sizeof qq);
}

/* The scales of n_groups groups, at most LANES, 0 for a group below 1e-15. */
static void search(const float *x, int n_groups, const float *v, const float *mean, float *scale)
{
    search_state s;

    load_groups(x, n_groups, GROUP, s.x);
    weigh(&s, n_groups, v, mean);
    begin(&s);
    for (int t = 1; t < TRIES; t += STEP)
        more_tries(&s, t);
    lanes found = pick(s.qq[0] > 0, s.xq[0] / s.qq[0], splat(0)), best = found * s.xq[0];
    for (int t = 1; t < TRIES; t++) {
        const ints better = (s.qq[t] > 0) & (s.xq[t] * s.xq[t] > best * s.qq[t]);
        if (any(better)) {
            found = pick(better, s.xq[t] / s.qq[t], found);
            best = pick(better, found * s.xq[t], best);
        }
    }
    for (int g = 0; g < n_groups; g++)
        scale[g] = s.zero[g] ? 0 : found[g];
}

/* ---- codes of one group ------------------------------------------------------------ */

static void encode_codes(const float *x, float inv, unsigned char *out)
{
    int32_t index[GROUP];
    uint8_t code[GROUP];
    ints upper_half;

    for (int i = 0; i < GROUP; i += LANES) {
        const ints k = -minus_index(inv * load_lanes(x + i), &upper_half);
        memcpy(index + i, &k, sizeof k);
    }
    low_bytes(index, GROUP, code);
    join_nibbles(code, code + 16, 16, out);
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
    float d[LANES];

    for (uint64_t i = 0, take; i < n; i += take * GROUP) {
        take = (n - i) / GROUP < LANES ? (n - i) / GROUP : LANES;
        search(x + i, (int)take, v != NULL ? v + i : NULL, NULL, d);
        for (uint64_t g = 0; g < take; g++, q++) {
            gk_store_f16(q->d, d[g]);
            encode_codes(x + i + g * GROUP, d[g] != 0 ? 1 / d[g] : 0, q->codes);
        }
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

/* Super-blocks whose groups fill the lanes. */
#define ABREAST (LANES > N_GROUPS ? LANES / N_GROUPS : 1)

/* The scales of n super-blocks, at most ABREAST. */
static void search_supers(const float *x, int n, const float *v, float *scale)
{
    float mean[ABREAST * N_GROUPS];

    for (int k = 0; k < n && v != NULL; k++) {
        float sum = 0;
        for (int i = 0; i < SUPER; i++)
            sum += x[k * SUPER + i] * x[k * SUPER + i];
        for (int g = 0; g < N_GROUPS; g++)
            mean[k * N_GROUPS + g] = sum * (2.0f / (float)SUPER);
    }
    for (int g = 0; g < n * N_GROUPS; g += LANES) {
        const int left = n * N_GROUPS - g;
        search(x + g * GROUP, left < LANES ? left : LANES, v == NULL ? NULL : v + g * GROUP,
               v == NULL ? NULL : mean + g, scale + g);
    }
}

/* The f16 that is stored and the d that the codes are made with differ by a rounding. */
static void encode_super(const float *x, const float *scale, iq4_xs *q)
{
    float most = 0, widest = 0;
    int l[N_GROUPS];

    for (int g = 0; g < N_GROUPS; g++)
        if (fabsf(scale[g]) > most) {
            most = fabsf(scale[g]);
            widest = scale[g];
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
    float scale[ABREAST * N_GROUPS];

    for (uint64_t i = 0, take; i < n; i += take * SUPER) {
        take = (n - i) / SUPER < ABREAST ? (n - i) / SUPER : ABREAST;
        search_supers(x + i, (int)take, v != NULL ? v + i : NULL, scale);
        for (uint64_t k = 0; k < take; k++, q++)
            encode_super(x + i + k * SUPER, scale + k * N_GROUPS, q);
    }
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

const gk_blocks GK_BLOCKS_NAME(gk_blocks_iq4_nl) = {
    .dtype = GK_IQ4_NL,
    .encode = encode_iq4_nl,
    .decode = decode_iq4_nl,
    .valid = valid_iq4_nl,
};
const gk_blocks GK_BLOCKS_NAME(gk_blocks_iq4_xs) = {
    .dtype = GK_IQ4_XS,
    .encode = encode_iq4_xs,
    .decode = decode_iq4_xs,
    .valid = valid_iq4_xs,
};
