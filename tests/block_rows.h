/* tests/block_rows.h - rows that are hard for ggml's block types, made by formula.
 *
 * tests/test_blocks_kquant.c holds digests of what ggml makes of them;
 * `make_blocks --case` prints them, so that tests/interop/ggml_blocks.py gives ggml the same. */
#ifndef GK_TESTS_BLOCK_ROWS_H
#define GK_TESTS_BLOCK_ROWS_H

#include <math.h>
#include <stdint.h>

#define ROW_ELEMS 512

/* Uniform in [-1, 1), from xorshift32. */
static inline float row_uniform(uint32_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return (float)(int32_t)*s / 2147483648.0f;
}

static inline float row_cubed(uint32_t *s)
{
    const float u = row_uniform(s);

    return u * u * u;
}

static inline void row_scaled(float *x, float scale)
{
    uint32_t s = 0x2545F491;

    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] = row_cubed(&s) * scale;
}

static inline void row_zeros(float *x) { row_scaled(x, 0); } /* of both signs */
static inline void row_denormals(float *x) { row_scaled(x, 1e-40f); }
static inline void row_below_floor(float *x) { row_scaled(x, 1e-16f); }
static inline void row_f16_underflow(float *x) { row_scaled(x, 1e-9f); }
static inline void row_f16_subnormal(float *x) { row_scaled(x, 1e-4f); }
static inline void row_common(float *x) { row_scaled(x, 0.05f); }
static inline void row_f16_overflow(float *x) { row_scaled(x, 3e7f); }
static inline void row_f32_overflow(float *x) { row_scaled(x, 1e30f); }

/* Groups of 16 whose largest magnitude is the least that counts as one, or one bit off. */
static inline void row_at_floor(float *x)
{
    const float peak[3] = {1e-15f, nextafterf(1e-15f, 0), nextafterf(1e-15f, 1)};

    row_scaled(x, 9e-16f);
    for (int g = 0; g < ROW_ELEMS / 16; g++)
        x[16 * g + g % 16] = peak[g % 3] * (g % 2 == 0 ? 1.0f : -1.0f);
}

static inline void row_one_huge(float *x)
{
    row_scaled(x, 0.01f);
    x[77] = -3e30f;
}

static inline void row_one_large(float *x)
{
    row_scaled(x, 0.01f);
    x[77] = 60000;
    x[400] = -8;
}

/* Groups of 16 whose largest magnitude is a power of two, or one bit off. */
static inline void row_powers(float *x)
{
    uint32_t s = 0x2545F491;

    for (int g = 0; g < ROW_ELEMS / 16; g++) {
        const float two = ldexpf(1, g - 20);
        const float peak[3] = {two, nextafterf(two, 0), nextafterf(two, INFINITY)};
        for (int i = 0; i < 16; i++)
            x[16 * g + i] = row_cubed(&s) * two;
        x[16 * g + g % 16] = peak[g % 3] * (g % 4 < 2 ? 1.0f : -1.0f);
    }
}

/* Multiples of half a step of every code width, from an extreme that takes the first code. */
static inline void row_ties(float *x)
{
    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] = (float)(i * 7 % 33 - 16) * 0.5f;
    for (int g = 0; g < ROW_ELEMS / 32; g++)
        x[32 * g] = (float)(-(1 << g % 6));
}

/* Both signs reach the largest magnitude, now one first, now the other. */
static inline void row_equal_extremes(float *x)
{
    row_scaled(x, 0.75f);
    for (int g = 0; g < ROW_ELEMS / 16; g++) {
        x[16 * g + 3] = g % 2 == 0 ? 0.75f : -0.75f;
        x[16 * g + 9] = -x[16 * g + 3];
    }
}

static inline void row_negative(float *x)
{
    row_scaled(x, 1);
    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] = -fabsf(x[i]) - 0.125f;
}

static inline void row_positive(float *x)
{
    row_scaled(x, 1);
    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] = fabsf(x[i]) + 2;
}

static inline void row_constant(float *x)
{
    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] = i < ROW_ELEMS / 2 ? 0.25f : -0.5f;
}

/* Groups of one value each, some zero. */
static inline void row_steps(float *x)
{
    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] = (float)(i / 16 % 7 - 3) * 0.1f;
}

static inline void row_sparse(float *x)
{
    row_scaled(x, 1);
    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] = i % 29 == 0 ? x[i] : 0;
}

/* Groups so unequal that the small ones get the integer scale 0. */
static inline void row_unequal(float *x)
{
    row_scaled(x, 1);
    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] *= ldexpf(1, -(i / 16 * 5 % 16));
}

/* A level with small noise on it: the minimum carries the group. */
static inline void row_level(float *x)
{
    row_scaled(x, 1e-3f);
    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] += i < ROW_ELEMS / 2 ? -0.7f : 0.3f;
}

/* Groups of 32 that repeat the one before with its signs turned. */
static inline void row_mirrored(float *x)
{
    row_scaled(x, 1);
    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] = i % 64 < 32 ? x[i] : -x[i - 32];
}

/* Half-way between the values of IQ4's table, under an extreme that makes the unit 2^-3. */
static inline void row_table_ties(float *x)
{
    static const float middle[15] = {-115.5f, -93.5f, -74.0f, -57.0f, -42.0f, -28.5f, -16.0f, -4.5f,
                                     7.0f,    19.0f,  31.5f,  45.5f,  61.0f,  79.0f,  101.0f};

    for (int i = 0; i < ROW_ELEMS; i++)
        x[i] = (i % 32 == 0 ? 127.0f : middle[i % 32 % 15]) * (i / 32 % 2 == 0 ? 0.125f : -0.125f);
}

static const struct {
    const char *name;
    void (*fill)(float *x);
} row_cases[] = {
    {"zeros", row_zeros},
    {"denormals", row_denormals},
    {"below_floor", row_below_floor},
    {"at_floor", row_at_floor},
    {"f16_underflow", row_f16_underflow},
    {"f16_subnormal", row_f16_subnormal},
    {"common", row_common},
    {"f16_overflow", row_f16_overflow},
    {"f32_overflow", row_f32_overflow},
    {"one_huge", row_one_huge},
    {"one_large", row_one_large},
    {"powers", row_powers},
    {"ties", row_ties},
    {"equal_extremes", row_equal_extremes},
    {"negative", row_negative},
    {"positive", row_positive},
    {"constant", row_constant},
    {"steps", row_steps},
    {"sparse", row_sparse},
    {"unequal", row_unequal},
    {"level", row_level},
    {"mirrored", row_mirrored},
    {"table_ties", row_table_ties},
};

#define N_ROW_CASES (sizeof row_cases / sizeof row_cases[0])

/* Importance for those rows: usual, with holes, none at all anywhere, one element in 32 (whose
 * scale rounding may leave below zero). */
#define N_ROW_IMPORTANCES 4

static inline void row_importance(int kind, float *v)
{
    uint32_t s = 0x9E3779B9;

    for (int i = 0; i < ROW_ELEMS; i++) {
        v[i] = fabsf(row_uniform(&s)) + 0.01f;
        if (kind == 2 || (kind == 1 && i % 3 != 0) || (kind == 3 && i % 32 != i / 32 * 5 % 32))
            v[i] = 0;
    }
}

#endif
