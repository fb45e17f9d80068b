/* quant/blocks_kquant.c - ggml's super-blocks of 256: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
 *
 * A super-block holds groups of 16 or 32 codes, an integer scale a group, and one f16 d that
 * scales the scales. Q2_K, Q4_K and Q5_K also subtract a minimum a group, an integer times the
 * f16 dmin:
 *
 *     Q2_K  scales[16] codes[64] d dmin            d * ls * q - dmin * lm         q 0..3
 *     Q3_K  high[32] codes[64] scales[12] d        d * (l6 - 32) * (q - 4)        q 0..7
 *     Q4_K  d dmin scales[12] codes[128]           d * ls * q - dmin * lm         q 0..15
 *     Q5_K  d dmin scales[12] high[32] codes[128]  d * ls * q - dmin * lm         q 0..31
 *     Q6_K  codes[128] high[64] scales[16] d       d * sc * (q - 32)              q 0..63
 *
 * Encoding searches a scale (and minimum) a group, rounds those to integers, and rounds the
 * elements again to what the integers give. A group whose integer scale is 0 keeps the codes
 * of the search, though they decode to one value. Source: ggml-org/ggml src/ggml-quants.c and
 * src/ggml-common.h @d99724f. */
#include <math.h>
#include <string.h>

#include "quant/blocks_rows.h"
#include "quant/blocks_lanes.h"
#include "quant/blocks_search.h"

#define SUPER       256
#define MOST_GROUPS 16

/* ---- codes of 2 and 4 bits ------------------------------------------------------ */

/* Byte i of a chunk of 32 bytes holds elements i, 32 + i, 64 + i and 96 + i, lowest bits first. */
static void pack2(const uint8_t *code, unsigned char *out)
{
    for (int half = 0; half < 2; half++, code += 128, out += 32)
        for (int i = 0; i < 32; i++)
            out[i] = (unsigned char)((code[i] & 3) | (code[i + 32] & 3) << 2
                                     | (code[i + 64] & 3) << 4 | (code[i + 96] & 3) << 6);
}

static void unpack2(const unsigned char *in, uint8_t *code)
{
    for (int half = 0; half < 2; half++, code += 128, in += 32)
        for (int i = 0; i < 32; i++) {
            code[i] = in[i] & 3;
            code[i + 32] = in[i] >> 2 & 3;
            code[i + 64] = in[i] >> 4 & 3;
            code[i + 96] = in[i] >> 6;
        }
}

/* Byte i of a chunk of 32 bytes holds elements i (low) and 32 + i (high). */
static void pack4(const uint8_t *code, unsigned char *out)
{
    for (int chunk = 0; chunk < 4; chunk++, code += 64, out += 32)
        join_nibbles(code, code + 32, 32, out);
}

static void unpack4(const unsigned char *in, uint8_t *code)
{
    for (int chunk = 0; chunk < 4; chunk++, code += 64, in += 32)
        for (int i = 0; i < 32; i++) {
            code[i] = in[i] & 15;
            code[i + 32] = in[i] >> 4;
        }
}

/* One more bit a code: bit k of high[i] belongs to element 32 * k + i. */
static void pack_bit(const uint8_t *code, int bit, unsigned char *high)
{
    memset(high, 0, SUPER / 8);
    for (int k = 0; k < 8; k++)
        for (int i = 0; i < 32; i++)
            high[i] |= (unsigned char)((code[32 * k + i] >> bit & 1) << k);
}

static void unpack_bit(const unsigned char *high, int bit, uint8_t *code)
{
    for (int k = 0; k < 8; k++)
        for (int i = 0; i < 32; i++)
            code[32 * k + i] |= (uint8_t)((high[i] >> k & 1) << bit);
}

/* ---- groups with a minimum: Q2_K, Q4_K, Q5_K ------------------------------------ */

typedef struct affine_kind {
    gk_affine plain, weighted;       /* without and with importance                      */
    int scale_top;                   /* largest integer scale and minimum                */
    int plain_bound, weighted_bound; /* of a scale below 0, which wraps in a byte     */
    bool double_mean_sq; /* weighted: v * sqrt(2 * mean + x^2), else one mean of squares   */
} affine_kind;

typedef struct affine_block {
    uint8_t code[SUPER];
    uint8_t ls[MOST_GROUPS], lm[MOST_GROUPS]; /* encoding: 0 past the last group */
    float d, dmin;                            /* not yet rounded to f16          */
} affine_block;

/* Super-blocks that are searched side by side. */
#define ABREAST (LANES / 4)

typedef struct affine_run {
    const gk_affine *how;
    gk_affine_fit fit[ABREAST * MOST_GROUPS];
    float w[ABREAST * SUPER];
} affine_run;

static float sum_of_squares(const float *x, int n)
{
    float sum = 0;

    for (int i = 0; i < n; i++)
        sum += x[i] * x[i];
    return sum;
}

/* The weights of a super-block under importance v. */
static void importance_weights(const float *x, const float *v, float mean_sq, float *w)
{
    for (int i = 0; i < SUPER; i++)
        w[i] = v[i] * sqrtf(mean_sq + x[i] * x[i]);
}

static void sum_groups(const float *w, int width, float *sum)
{
    for (int g = 0; g < SUPER / width; g++) {
        sum[g] = 0;
        for (int i = 0; i < width; i++)
            sum[g] += w[g * width + i];
    }
}

static void bound_scales(uint8_t *scale, int bound)
{
    for (int g = 0; g < MOST_GROUPS; g++)
        scale[g] = (uint8_t)(scale[g] < bound ? scale[g] : bound);
}

/* Integers for scales or minima (past the last group: 0), the largest gets top. Returns the
 * unit. */
static float integer_scales(const float *scale, int top, uint8_t *out)
{
    float most = 0;

    for (int g = 0; g < MOST_GROUPS; g++)
        most = scale[g] > most ? scale[g] : most;
    const float inv = most > 0 ? (float)top / most : 0;
    for (int g = 0; g < MOST_GROUPS; g++)
        out[g] = (uint8_t)gk_nearest(inv * scale[g]);
    return most / (float)top;
}

/* Searches the groups of the super-block at x + i, and of those after it, unless an earlier call
 * did so. n, x and v are those of the row. */
static void affine_search(const affine_kind *kind, const float *x, uint64_t n, const float *v,
                          uint64_t i, affine_run *run)
{
    const uint64_t left = (n - i) / SUPER;
    const int supers = (int)(left < ABREAST ? left : ABREAST);

    if (i / SUPER % ABREAST != 0)
        return;
    run->how = v == NULL ? &kind->plain : &kind->weighted;
    for (int k = 0; v != NULL && k < supers; k++) {
        const float *from = x + i + k * SUPER;
        const float sum_sq = sum_of_squares(from, SUPER);
        importance_weights(from, v + i + k * SUPER,
                           (kind->double_mean_sq ? 2 * sum_sq : sum_sq) / SUPER,
                           run->w + k * SUPER);
    }
    gk_search_affine(run->how, supers * SUPER / run->how->width, x + i, v == NULL ? NULL : run->w,
                     run->fit);
}

/* Integers for the scales and minima of the super-block at x + i. */
static void affine_integers(const affine_kind *kind, const affine_run *run, uint64_t i,
                            affine_block *b)
{
    const int n = SUPER / run->how->width, at = (int)(i / SUPER % ABREAST);
    float scale[MOST_GROUPS] = {0}, min[MOST_GROUPS] = {0}, sum_w[MOST_GROUPS];

    for (int g = 0; g < n; g++) {
        scale[g] = run->fit[at * n + g].scale;
        min[g] = run->fit[at * n + g].min;
    }
    if (run->how == &kind->plain) {
        b->d = integer_scales(scale, kind->scale_top, b->ls);
        b->dmin = integer_scales(min, kind->scale_top, b->lm);
        bound_scales(b->ls, kind->plain_bound);
    } else {
        memset(b->ls, 0, sizeof b->ls);
        sum_groups(run->w + at * SUPER, run->how->width, sum_w);
        b->d = gk_search_positive(scale, sum_w, n, kind->scale_top, b->ls);
        b->dmin = gk_search_positive(min, sum_w, n, kind->scale_top, b->lm);
        bound_scales(b->ls, kind->weighted_bound);
    }
}

/* The codes of x under the integers that were stored; b->d and b->dmin are those of the file. */
static void affine_round(const affine_run *run, uint64_t at, const float *x, affine_block *b)
{
    const int width = run->how->width, top = run->how->top;
    const gk_affine_fit *fit = run->fit + at / SUPER % ABREAST * (uint64_t)(SUPER / width);

    for (int g = 0; g < SUPER / width; g++) {
        const float scale = b->d * (float)b->ls[g], min = b->dmin * (float)b->lm[g];
        if (scale == 0)
            gk_search_affine_codes(run->how, x + g * width, &fit[g], b->code + g * width);
        else
            for (int i = g * width; i < (g + 1) * width; i++)
                b->code[i] = (uint8_t)gk_clamp(gk_nearest((x[i] + min) / scale), 0, top);
    }
}

static void affine_decode(int width, const affine_block *b, float *out)
{
    for (int g = 0; g < SUPER / width; g++) {
        const float scale = b->d * (float)b->ls[g], min = b->dmin * (float)b->lm[g];
        for (int i = g * width; i < (g + 1) * width; i++)
            out[i] = scale * (float)b->code[i] - min;
    }
}

/* ---- Q2_K ------------------------------------------------------------------------ */

typedef struct q2_k {
    unsigned char scales[16]; /* ls | lm << 4 */
    unsigned char codes[64];
    unsigned char d[2], dmin[2];
} q2_k;

_Static_assert(sizeof(q2_k) == 16 + 64 + 2 + 2, "Q2_K");

static const affine_kind kind_q2_k = {
    .plain = {16, 3, -0.5f, 0.1f, 15, true, false},
    .weighted = {16, 3, -0.9f, 0.05f, 36, false, false},
    .scale_top = 15,
    .plain_bound = 255,
    .weighted_bound = 255,
    .double_mean_sq = false,
};

static void unpack_scales_q2_k(const q2_k *q, affine_block *b)
{
    for (int g = 0; g < 16; g++) {
        b->ls[g] = q->scales[g] & 15;
        b->lm[g] = q->scales[g] >> 4;
    }
}

static void encode_q2_k(const float *x, uint64_t n, const float *v, unsigned char *out)
{
    q2_k *q = (q2_k *)out;
    affine_block b;
    affine_run run;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        affine_search(&kind_q2_k, x, n, v, i, &run);
        affine_integers(&kind_q2_k, &run, i, &b);
        b.d = gk_store_f16(q->d, b.d);
        b.dmin = gk_store_f16(q->dmin, b.dmin);
        for (int g = 0; g < 16; g++)
            q->scales[g] = (unsigned char)(b.ls[g] | b.lm[g] << 4);
        unpack_scales_q2_k(q, &b);
        affine_round(&run, i, x + i, &b);
        pack2(b.code, q->codes);
    }
}

static void decode_q2_k(const unsigned char *in, uint64_t n, float *out)
{
    const q2_k *q = (const q2_k *)in;
    affine_block b;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        b.d = gk_load_f16(q->d);
        b.dmin = gk_load_f16(q->dmin);
        unpack_scales_q2_k(q, &b);
        unpack2(q->codes, b.code);
        affine_decode(16, &b, out + i);
    }
}

static bool valid_q2_k(const unsigned char *in, uint64_t n)
{
    const q2_k *q = (const q2_k *)in;

    for (uint64_t i = 0; i < n / SUPER; i++)
        if (!gk_finite_f16(q[i].d) || !gk_finite_f16(q[i].dmin))
            return false;
    return true;
}

/* ---- Q4_K and Q5_K --------------------------------------------------------------- */

/* The head of both: eight scales and eight minima of 6 bits. Those of groups 0..3 are the low
 * bits of bytes 0..3 and 4..7, and lend their two high bits to groups 4..7, whose low four bits
 * fill bytes 8..11. */
typedef struct head45 {
    unsigned char d[2], dmin[2];
    unsigned char scales[12];
} head45;

typedef struct q4_k {
    head45 head;
    unsigned char codes[128];
} q4_k;

typedef struct q5_k {
    head45 head;
    unsigned char high[32]; /* bit 4 of the codes */
    unsigned char codes[128];
} q5_k;

_Static_assert(sizeof(q4_k) == 2 + 2 + 12 + 128, "Q4_K");
_Static_assert(sizeof(q5_k) == 2 + 2 + 12 + 32 + 128, "Q5_K");

static const affine_kind kind_q4_k = {
    .plain = {32, 15, -1.0f, 0.1f, 20, false, true},
    .weighted = {32, 15, -0.9f, 0.05f, 36, false, false},
    .scale_top = 63,
    .plain_bound = 63,
    .weighted_bound = 255,
    .double_mean_sq = true,
};

static const affine_kind kind_q5_k = {
    .plain = {32, 31, -0.5f, 0.1f, 15, false, true},
    .weighted = {32, 31, -0.9f, 0.05f, 36, false, false},
    .scale_top = 63,
    .plain_bound = 63,
    .weighted_bound = 63,
    .double_mean_sq = true,
};

/* Nothing is masked here: a scale that wrapped spills as it does in ggml. */
static void pack_scales45(const affine_block *b, unsigned char *s)
{
    for (int g = 0; g < 4; g++) {
        s[g] = (unsigned char)(b->ls[g] | b->ls[g + 4] >> 4 << 6);
        s[g + 4] = (unsigned char)(b->lm[g] | b->lm[g + 4] >> 4 << 6);
        s[g + 8] = (unsigned char)((b->ls[g + 4] & 15) | (b->lm[g + 4] & 15) << 4);
    }
}

static void unpack_scales45(const unsigned char *s, affine_block *b)
{
    for (int g = 0; g < 4; g++) {
        b->ls[g] = s[g] & 63;
        b->lm[g] = s[g + 4] & 63;
        b->ls[g + 4] = (uint8_t)((s[g + 8] & 15) | s[g] >> 6 << 4);
        b->lm[g + 4] = (uint8_t)(s[g + 8] >> 4 | s[g + 4] >> 6 << 4);
    }
}

/* Stores the head of the super-block at x + i and rounds to it. */
static void encode_head45(const affine_kind *kind, const affine_run *run, uint64_t i,
                          const float *x, head45 *head, affine_block *b)
{
    affine_integers(kind, run, i, b);
    b->d = gk_store_f16(head->d, b->d);
    b->dmin = gk_store_f16(head->dmin, b->dmin);
    pack_scales45(b, head->scales);
    unpack_scales45(head->scales, b);
    affine_round(run, i, x + i, b);
}

static void decode_head45(const head45 *head, affine_block *b)
{
    b->d = gk_load_f16(head->d);
    b->dmin = gk_load_f16(head->dmin);
    unpack_scales45(head->scales, b);
}

static bool valid_head45(const head45 *head)
{
    return gk_finite_f16(head->d) && gk_finite_f16(head->dmin);
}

static void encode_q4_k(const float *x, uint64_t n, const float *v, unsigned char *out)
{
    q4_k *q = (q4_k *)out;
    affine_block b;
    affine_run run;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        affine_search(&kind_q4_k, x, n, v, i, &run);
        encode_head45(&kind_q4_k, &run, i, x, &q->head, &b);
        pack4(b.code, q->codes);
    }
}

static void decode_q4_k(const unsigned char *in, uint64_t n, float *out)
{
    const q4_k *q = (const q4_k *)in;
    affine_block b;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        decode_head45(&q->head, &b);
        unpack4(q->codes, b.code);
        affine_decode(32, &b, out + i);
    }
}

static bool valid_q4_k(const unsigned char *in, uint64_t n)
{
    const q4_k *q = (const q4_k *)in;

    for (uint64_t i = 0; i < n / SUPER; i++)
        if (!valid_head45(&q[i].head))
            return false;
    return true;
}

static void encode_q5_k(const float *x, uint64_t n, const float *v, unsigned char *out)
{
    q5_k *q = (q5_k *)out;
    affine_block b;
    affine_run run;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        affine_search(&kind_q5_k, x, n, v, i, &run);
        encode_head45(&kind_q5_k, &run, i, x, &q->head, &b);
        pack4(b.code, q->codes);
        pack_bit(b.code, 4, q->high);
    }
}

static void decode_q5_k(const unsigned char *in, uint64_t n, float *out)
{
    const q5_k *q = (const q5_k *)in;
    affine_block b;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        decode_head45(&q->head, &b);
        unpack4(q->codes, b.code);
        unpack_bit(q->high, 4, b.code);
        affine_decode(32, &b, out + i);
    }
}

static bool valid_q5_k(const unsigned char *in, uint64_t n)
{
    const q5_k *q = (const q5_k *)in;

    for (uint64_t i = 0; i < n / SUPER; i++)
        if (!valid_head45(&q[i].head))
            return false;
    return true;
}

/* ---- groups around zero: Q3_K, Q6_K ---------------------------------------------- */

typedef struct symmetric_block {
    uint8_t code[SUPER];
    int scale[16];
    float d;
} symmetric_block;

/* The first of the scales with the largest magnitude. */
static float widest(const float *scale)
{
    float most = 0, found = 0;

    for (int g = 0; g < 16; g++)
        if (fabsf(scale[g]) > most) {
            most = fabsf(scale[g]);
            found = scale[g];
        }
    return found;
}

/* The codes of x, -half .. half - 1 before the offset, under the scales that were stored; where
 * such a scale is 0 those of the search: of fit, or the codes at hand without it. */
static void symmetric_round(const float *x, int half, const gk_symmetric_fit *fit,
                            symmetric_block *b)
{
    for (int g = 0; g < 16; g++) {
        const float scale = b->d * (float)b->scale[g];
        if (scale != 0)
            for (int i = 16 * g; i < 16 * (g + 1); i++)
                b->code[i] = (uint8_t)(gk_clamp(gk_nearest(x[i] / scale), -half, half - 1) + half);
        else if (fit != NULL)
            gk_search_symmetric_codes(x + 16 * g, 16, half, &fit[g], b->code + 16 * g);
    }
}

static void symmetric_decode(int half, const symmetric_block *b, float *out)
{
    for (int g = 0; g < 16; g++) {
        const float scale = b->d * (float)b->scale[g];
        for (int i = 16 * g; i < 16 * (g + 1); i++)
            out[i] = scale * (float)(b->code[i] - half);
    }
}

/* ---- Q3_K ------------------------------------------------------------------------ */

typedef struct q3_k {
    unsigned char high[32]; /* bit 2 of the codes */
    unsigned char codes[64];
    unsigned char scales[12]; /* 6 bits a group, 32 is zero */
    unsigned char d[2];
} q3_k;

_Static_assert(sizeof(q3_k) == 32 + 64 + 12 + 2, "Q3_K");

/* Low four bits: groups 0..7 and 8..15 in the halves of bytes 0..7; the high two bits of groups
 * j, 4 + j, 8 + j and 12 + j in byte 8 + j. */
static void pack_scales_q3_k(const int *scale, unsigned char *s)
{
    memset(s, 0, 12);
    for (int g = 0; g < 16; g++) {
        const int l = scale[g] + 32;
        s[g % 8] |= (unsigned char)((l & 15) << g / 8 * 4);
        s[8 + g % 4] |= (unsigned char)(l >> 4 << g / 4 * 2);
    }
}

static void unpack_scales_q3_k(const unsigned char *s, int *scale)
{
    for (int g = 0; g < 16; g++)
        scale[g] = ((s[g % 8] >> g / 8 * 4 & 15) | (s[8 + g % 4] >> g / 4 * 2 & 3) << 4) - 32;
}

/* Returns false when all scales are zero: the file then holds 0 for them, which reads as -32. */
static bool plain_scales_q3_k(const float *x, symmetric_block *b)
{
    float scale[16];

    gk_search_sweeps(x, 16, 16, 4, b->code, scale);
    const float most = widest(scale);
    if (most == 0) {
        b->d = 0;
        return false;
    }
    const float inv = -32.0f / most;
    for (int g = 0; g < 16; g++)
        b->scale[g] = gk_clamp(gk_nearest(inv * scale[g]), -32, 31);
    b->d = 1 / inv;
    return true;
}

static void weighted_scales_q3_k(const float *x, const float *v, symmetric_block *b,
                                 gk_symmetric_fit *fit)
{
    const float mean_sq = 2 * sum_of_squares(x, SUPER) / SUPER;
    float w[SUPER], sum_w[16], scale[16];
    gk_symmetric_fit of_scales;
    uint8_t l[16];

    importance_weights(x, v, mean_sq, w);
    sum_groups(w, 16, sum_w);
    gk_search_symmetric(x, w, 16, 16, 4, fit);
    for (int g = 0; g < 16; g++)
        scale[g] = fit[g].scale;
    gk_search_symmetric(scale, sum_w, 1, 16, 32, &of_scales);
    gk_search_symmetric_codes(scale, 16, 32, &of_scales, l);
    b->d = of_scales.scale;
    for (int g = 0; g < 16; g++)
        b->scale[g] = l[g] - 32;
}

static void encode_q3_k(const float *x, uint64_t n, const float *v, unsigned char *out)
{
    q3_k *q = (q3_k *)out;
    gk_symmetric_fit fit[16];
    symmetric_block b;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        if (v != NULL)
            weighted_scales_q3_k(x + i, v + i, &b, fit);
        else if (!plain_scales_q3_k(x + i, &b))
            for (int g = 0; g < 16; g++)
                b.scale[g] = -32;
        b.d = gk_store_f16(q->d, b.d);
        pack_scales_q3_k(b.scale, q->scales);
        symmetric_round(x + i, 4, v != NULL ? fit : NULL, &b);
        pack2(b.code, q->codes);
        pack_bit(b.code, 2, q->high);
    }
}

static void decode_q3_k(const unsigned char *in, uint64_t n, float *out)
{
    const q3_k *q = (const q3_k *)in;
    symmetric_block b;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        b.d = gk_load_f16(q->d);
        unpack_scales_q3_k(q->scales, b.scale);
        unpack2(q->codes, b.code);
        unpack_bit(q->high, 2, b.code);
        symmetric_decode(4, &b, out + i);
    }
}

static bool valid_q3_k(const unsigned char *in, uint64_t n)
{
    const q3_k *q = (const q3_k *)in;

    for (uint64_t i = 0; i < n / SUPER; i++)
        if (!gk_finite_f16(q[i].d))
            return false;
    return true;
}

/* ---- Q6_K ------------------------------------------------------------------------ */

typedef struct q6_k {
    unsigned char codes[128]; /* low four bits                         */
    unsigned char high[64];   /* two bits a code, in pack2()'s order   */
    int8_t scales[16];
    unsigned char d[2];
} q6_k;

_Static_assert(sizeof(q6_k) == 128 + 64 + 16 + 2, "Q6_K");

/* A half of 128 elements has 64 bytes: 0..31 and 64..95 share bytes, so do 32..63 and 96..127. */
static void pack_q6_k(const uint8_t *code, q6_k *q)
{
    uint8_t high[SUPER];

    for (int i = 0; i < SUPER; i++)
        high[i] = code[i] >> 4;
    pack2(high, q->high);
    for (int half = 0; half < 2; half++)
        join_nibbles(code + 128 * half, code + 128 * half + 64, 64, q->codes + 64 * half);
}

static void unpack_q6_k(const q6_k *q, uint8_t *code)
{
    unpack2(q->high, code);
    for (int half = 0; half < 2; half++)
        for (int i = 0; i < 64; i++) {
            uint8_t *to = code + 128 * half + i;
            const unsigned char low = q->codes[64 * half + i];
            to[0] = (uint8_t)((low & 15) | to[0] << 4);
            to[64] = (uint8_t)(low >> 4 | to[64] << 4);
        }
}

/* Returns false when the super-block is zero. */
static bool scales_q6_k(const float *x, const float *v, symmetric_block *b, gk_symmetric_fit *fit)
{
    float scale[16];

    gk_search_symmetric(x, v, 16, 16, 32, fit);
    for (int g = 0; g < 16; g++)
        scale[g] = fit[g].scale;
    const float most = widest(scale);
    if (fabsf(most) < 1e-15f)
        return false;
    const float inv = -128.0f / most;
    for (int g = 0; g < 16; g++)
        b->scale[g] = gk_clamp(gk_nearest(inv * scale[g]), -128, 127);
    b->d = 1 / inv;
    return true;
}

static void encode_q6_k(const float *x, uint64_t n, const float *v, unsigned char *out)
{
    q6_k *q = (q6_k *)out;
    gk_symmetric_fit fit[16];
    symmetric_block b;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        if (!scales_q6_k(x + i, v != NULL ? v + i : NULL, &b, fit)) {
            memset(q, 0, sizeof *q);
            continue;
        }
        b.d = gk_store_f16(q->d, b.d);
        for (int g = 0; g < 16; g++)
            q->scales[g] = (int8_t)b.scale[g];
        symmetric_round(x + i, 32, fit, &b);
        pack_q6_k(b.code, q);
    }
}

static void decode_q6_k(const unsigned char *in, uint64_t n, float *out)
{
    const q6_k *q = (const q6_k *)in;
    symmetric_block b;

    for (uint64_t i = 0; i < n; i += SUPER, q++) {
        b.d = gk_load_f16(q->d);
        for (int g = 0; g < 16; g++)
            b.scale[g] = q->scales[g];
        unpack_q6_k(q, b.code);
        symmetric_decode(32, &b, out + i);
    }
}

static bool valid_q6_k(const unsigned char *in, uint64_t n)
{
    const q6_k *q = (const q6_k *)in;

    for (uint64_t i = 0; i < n / SUPER; i++)
        if (!gk_finite_f16(q[i].d))
            return false;
    return true;
}

/* ---- rows of the table ------------------------------------------------------------ */

const gk_blocks GK_BLOCKS_NAME(gk_blocks_q2_k) = {
    .dtype = GK_Q2_K,
    .encode = encode_q2_k,
    .decode = decode_q2_k,
    .valid = valid_q2_k,
};
const gk_blocks GK_BLOCKS_NAME(gk_blocks_q3_k) = {
    .dtype = GK_Q3_K,
    .encode = encode_q3_k,
    .decode = decode_q3_k,
    .valid = valid_q3_k,
};
const gk_blocks GK_BLOCKS_NAME(gk_blocks_q4_k) = {
    .dtype = GK_Q4_K,
    .encode = encode_q4_k,
    .decode = decode_q4_k,
    .valid = valid_q4_k,
};
const gk_blocks GK_BLOCKS_NAME(gk_blocks_q5_k) = {
    .dtype = GK_Q5_K,
    .encode = encode_q5_k,
    .decode = decode_q5_k,
    .valid = valid_q5_k,
};
const gk_blocks GK_BLOCKS_NAME(gk_blocks_q6_k) = {
    .dtype = GK_Q6_K,
    .encode = encode_q6_k,
    .decode = decode_q6_k,
    .valid = valid_q6_k,
};
