/* quant/float8.c - conversions to and from E4M3FN, E2M1 and E8M0, by their bits. */
#include "quant/float8.h"

#include <string.h>

#define SIGN 0x80000000u

static inline uint32_t bits_of(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float float_of(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* ---- E4M3FN ----------------------------------------------------------------- */

#define E4M3_MOST   0x43E00000u  /* 448                                          */
#define E4M3_NORMAL 0x3C800000u  /* 2^-6, the least that is not subnormal        */
#define E4M3_REBIAS (120u << 23) /* 127 - 7, between the biases of the exponents */

uint8_t gk_e4m3_from(float x)
{
    const uint32_t bits = bits_of(x), sign = bits >> 24 & 0x80;
    uint32_t rest = bits & ~SIGN;

    rest = rest < E4M3_MOST ? rest : E4M3_MOST;
    if (rest >= E4M3_NORMAL) /* 20 bits go; half of their unit, less one if the code is even */
        return (uint8_t)(sign | (rest + 0x7FFFF + (rest >> 20 & 1) - E4M3_REBIAS) >> 20);
    /* units of 2^-9: beside 2^14 they are the last bit of the fraction */
    return (uint8_t)(sign | (bits_of(float_of(rest) + 16384.0f) - bits_of(16384.0f)));
}

float gk_e4m3_to(uint8_t code)
{
    const uint32_t sign = (uint32_t)(code & 0x80) << 24, rest = code & 0x7F;

    if (rest == 0x7F)
        return float_of(sign | 0x7FC00000u);
    if (rest < 8) /* rest * 2^-9 */
        return float_of(sign | bits_of((float)rest * 0.001953125f));
    return float_of(sign | ((rest << 20) + E4M3_REBIAS));
}

/* ---- E2M1 ------------------------------------------------------------------- */

uint8_t gk_e2m1_from(float x)
{
    const uint32_t bits = bits_of(x);
    const float a = float_of(bits & ~SIGN);
    /* a tie goes to the even one of two codes: into an odd one past the middle only */
    const int code = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f)
                     + (a >= 3.5f) + (a > 5.0f);

    return (uint8_t)((uint32_t)code | (bits >> 28 & 8));
}

float gk_e2m1_to(uint8_t code)
{
    static const float value[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                    -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};

    return value[code & 0xF];
}

/* ---- E8M0 ------------------------------------------------------------------- */

float gk_e8m0_to(uint8_t code)
{
    if (code == 255)
        return float_of(0x7FC00000u);
    return float_of(code == 0 ? 0x00400000u : (uint32_t)code << 23);
}

uint8_t gk_mxfp4_scale(float amax)
{
    /* a quarter of the fraction's range carries from 1.75 on */
    const uint32_t exponent = (bits_of(amax) + (1u << 21)) >> 23;

    return (uint8_t)(exponent > 2 ? exponent - 2 : 0);
}
