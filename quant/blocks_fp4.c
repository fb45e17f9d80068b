/* quant/blocks_fp4.c - ggml's types with E2M1 codes: MXFP4 and NVFP4.
 *
 *           0          1 or 4
 *   MXFP4   u8 e       codes[16]       2^(e - 128) * K[q], 32 elements; byte j of codes
 *                                      holds elements j (low nibble) and j + 16
 *   NVFP4   u8 d[4]    codes[4][8]     s / 2 * K[q], s the UE4M3 of d[i]; 4 runs of 16
 *                                      elements; byte j of a run: elements j and j + 8
 *
 * K is twice the value of an E2M1 code. Both ignore importance. These are not the layouts
 * of compressed-tensors' formats of these names (quant/float8.h).
 * Source: ggml-org/ggml src/ggml-common.h, src/ggml-impl.h, src/ggml-quants.c @d99724f. */
#include "quant/blocks_rows.h"

#include <math.h>
#include <string.h>

#include "quant/blocks_lanes.h"

enum { MX_WIDTH = 32, NV_WIDTH = 64, NV_RUN = 16, NV_RUNS = NV_WIDTH / NV_RUN };

typedef struct mxfp4 {
    unsigned char e;
    unsigned char codes[MX_WIDTH / 2];
} mxfp4;

typedef struct nvfp4 {
    unsigned char d[NV_RUNS];
    unsigned char codes[NV_RUNS][NV_RUN / 2];
} nvfp4;

_Static_assert(sizeof(mxfp4) == 1 + 16, "MXFP4 is an exponent and 32 nibbles");
_Static_assert(sizeof(nvfp4) == 4 + 32, "NVFP4 is 4 scales and 64 nibbles");

static const float K[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* ---- codes ------------------------------------------------------------------ */

/* n is a multiple of 16, as everywhere here. */
static inline float magnitude(const float *x, int n)
{
    lanes most = {0};

    for (int i = 0; i < n; i += LANES)
        most = upper(absolute(load_lanes(x + i)), most);
    return greatest(most);
}

/* The first code whose value is nearest. */
static int first_nearest(float x, float step)
{
    float least = fabsf(K[0] * step - x);
    int code = 0;

    for (int i = 1; i < 16; i++) {
        const float error = fabsf(K[i] * step - x);
        if (error < least) {
            least = error;
            code = i;
        }
    }
    return code;
}

/* first_nearest() of n elements, into nibbles: element i low, i + n / 2 high. In reach of the
 * codes the differences there are exact, so it is comparing with the middles between values;
 * a middle belongs to the code nearer to zero, and no zero is negative. Where a step is lost
 * beside x, or is 0, its rounding decides. */
INLINED void put_codes(const float *x, int n, float most, float step, unsigned char *out)
{
    const float middle[7] = {0.5f * step, 1.5f * step, 2.5f * step, 3.5f * step,
                             5 * step,    7 * step,    10 * step};
    int32_t code[MX_WIDTH];
    uint8_t bytes[MX_WIDTH];

    if (most <= 1048576 * step)
        for (int i = 0; i < n; i += LANES) {
            const lanes at = load_lanes(x + i);
            ints k = {0};
            for (int m = 0; m < 7; m++)
                k -= absolute(at) > middle[m];
            k |= (k > 0) & (at < 0) & 8;
            memcpy(code + i, &k, sizeof k);
        }
    else
        for (int i = 0; i < n; i++)
            code[i] = first_nearest(x[i], step);
    low_bytes(code, n, bytes);
    for (int j = 0; j < n / 2; j += 8) { /* eight nibbles at a time */
        uint64_t low, high;
        memcpy(&low, bytes + j, sizeof low);
        memcpy(&high, bytes + n / 2 + j, sizeof high);
        low |= high << 4;
        memcpy(out + j, &low, sizeof low);
    }
}

static inline void take_codes(const unsigned char *in, int n, float step, float *out)
{
    for (int j = 0; j < n / 2; j++) {
        out[j] = K[in[j] & 0xF] * step;
        out[j + n / 2] = K[in[j] >> 4] * step;
    }
}

/* ---- MXFP4 ------------------------------------------------------------------ */

/* 2^(e - 128), subnormal for e below 2. */
static float mxfp4_step(unsigned char e)
{
    const uint32_t bits = e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23;
    float step;

    memcpy(&step, &bits, sizeof step);
    return step;
}

/* The logarithm is rounded to f32: just below a power of two it may reach its exponent. Below
 * amax = 2^-125 the byte wraps around as in ggml on x86, first to 255, which is not valid. */
static unsigned char mxfp4_exponent(float amax)
{
    return amax > 0 ? (unsigned char)((int)floorf(log2f(amax)) - 2 + 127) : 0;
}

static void encode_mxfp4(const float *x, uint64_t n, const float *importance, unsigned char *out)
{
    (void)importance;
    for (uint64_t b = 0; b < n / MX_WIDTH; b++, x += MX_WIDTH) {
        mxfp4 block;
        const float most = magnitude(x, MX_WIDTH);
        block.e = mxfp4_exponent(most);
        put_codes(x, MX_WIDTH, most, mxfp4_step(block.e), block.codes);
        memcpy(out + b * sizeof block, &block, sizeof block);
    }
}

static void decode_mxfp4(const unsigned char *in, uint64_t n, float *out)
{
    for (uint64_t b = 0; b < n / MX_WIDTH; b++, in += sizeof(mxfp4), out += MX_WIDTH)
        take_codes(in + 1, MX_WIDTH, mxfp4_step(in[0]), out);
}

static bool valid_mxfp4(const unsigned char *in, uint64_t n)
{
    for (uint64_t b = 0; b < n / MX_WIDTH; b++)
        if (in[b * sizeof(mxfp4)] == 255)
            return false;
    return true;
}

const gk_blocks GK_BLOCKS_NAME(gk_blocks_mxfp4) = {
    .dtype = GK_MXFP4,
    .encode = encode_mxfp4,
    .decode = decode_mxfp4,
    .valid = valid_mxfp4,
};

/* ---- NVFP4 ------------------------------------------------------------------ */

/* UE4M3 with bias 7: rounds half up by the first bit that goes, stays at 448 from exponent
 * field 15 on, and never rounds a subnormal up to a normal. */
static unsigned char ue4m3_from(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    if (x < 0.015625f) { /* 2^-6: units of 2^-9 */
        const int units = (int)(x * 512.0f + 0.5f);
        return (unsigned char)(units < 7 ? units : 7);
    }
    const uint32_t code = ((bits - (120u << 23)) >> 19) + 1; /* one bit too many */
    return (unsigned char)(code >> 1 < 15 << 3 ? code >> 1 : 0x7E);
}

/* Half the value of a UE4M3 code; ggml reads its NaN as 0, and no sign. */
static float nvfp4_step(unsigned char d)
{
    const int exponent = d >> 3 & 0xF, fraction = d & 7;

    if (d == 0x7F)
        return 0;
    if (exponent == 0)
        return (float)fraction * 0.0009765625f;
    const uint32_t bits = (uint32_t)(exponent + 119) << 23 | (uint32_t)fraction << 20;
    float step;
    memcpy(&step, &bits, sizeof step);
    return step;
}

static void encode_nvfp4(const float *x, uint64_t n, const float *importance, unsigned char *out)
{
    (void)importance;
    for (uint64_t b = 0; b < n / NV_WIDTH; b++) {
        nvfp4 block;
        for (int i = 0; i < NV_RUNS; i++, x += NV_RUN) {
            const float most = magnitude(x, NV_RUN);
            block.d[i] = ue4m3_from(most / 6.0f);
            put_codes(x, NV_RUN, most, nvfp4_step(block.d[i]), block.codes[i]);
        }
        memcpy(out + b * sizeof block, &block, sizeof block);
    }
}

static void decode_nvfp4(const unsigned char *in, uint64_t n, float *out)
{
    for (uint64_t b = 0; b < n / NV_WIDTH; b++) {
        nvfp4 block;
        memcpy(&block, in + b * sizeof block, sizeof block);
        for (int i = 0; i < NV_RUNS; i++, out += NV_RUN)
            take_codes(block.codes[i], NV_RUN, nvfp4_step(block.d[i]), out);
    }
}

/* Every scale is a number to ggml. */
static bool valid_nvfp4(const unsigned char *in, uint64_t n)
{
    (void)in;
    (void)n;
    return true;
}

const gk_blocks GK_BLOCKS_NAME(gk_blocks_nvfp4) = {
    .dtype = GK_NVFP4,
    .encode = encode_nvfp4,
    .decode = decode_nvfp4,
    .valid = valid_nvfp4,
};
