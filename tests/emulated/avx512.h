/* tests/emulated/avx512.h - the AVX-512 instructions that our text uses, for CPUs without them.
 *
 * The text of the kernels and block codecs is compiled once more with these in place of the
 * instructions (-include), under names of its own, so that its AVX-512 branches are compared
 * with the scalar specification on any CPU that has AVX2. An instruction that is missing here
 * does not compile: add it. */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#undef __AVX512F__
#define __AVX512F__ 1
#define gk_kernels_avx512 gk_kernels_emulated

typedef int32_t  emu_int __attribute__((vector_size(64)));
typedef uint32_t emu_uint __attribute__((vector_size(64)));

static inline __m512 emu_min_ps(__m512 a, __m512 b)
{
    for (int i = 0; i < 16; i++)
        a[i] = a[i] < b[i] ? a[i] : b[i];
    return a;
}

static inline __m512 emu_max_ps(__m512 a, __m512 b)
{
    for (int i = 0; i < 16; i++)
        a[i] = a[i] > b[i] ? a[i] : b[i];
    return a;
}

/* how: to nearest, ties to even, the only way that is used */
static inline __m512 emu_roundscale_ps(__m512 a, int how)
{
    (void)how;
    for (int i = 0; i < 16; i++)
        a[i] = rintf(a[i]);
    return a;
}

static inline float emu_reduce_max_ps(__m512 a)
{
    float most = a[0];

    for (int i = 1; i < 16; i++)
        most = most > a[i] ? most : a[i];
    return most;
}

static inline __m512d emu_cvtps_pd(__m256 a)
{
    __m512d r = {0};

    for (int i = 0; i < 8; i++)
        r[i] = (double)a[i];
    return r;
}

static inline __m512 emu_cvtepi32_ps(__m512i a)
{
    const emu_int v = (emu_int)a;
    __m512 r = {0};

    for (int i = 0; i < 16; i++)
        r[i] = (float)v[i];
    return r;
}

/* 16 integers of one size from those of another */
#define EMU_CONVERT(name, from_vector, from, to_vector, to)    \
    static inline to_vector name(from_vector a)                \
    {                                                          \
        from in[sizeof a / sizeof(from)];                      \
        to out[16];                                            \
        to_vector r;                                           \
        memcpy(in, &a, sizeof a);                              \
        for (int i = 0; i < 16; i++)                           \
            out[i] = (to)in[i];                                \
        memcpy(&r, out, sizeof r);                             \
        return r;                                              \
    }
EMU_CONVERT(emu_cvtepi32_epi8, __m512i, uint32_t, __m128i, uint8_t)
EMU_CONVERT(emu_cvtepi32_epi16, __m512i, uint32_t, __m256i, uint16_t)
EMU_CONVERT(emu_cvtepu16_epi32, __m256i, uint16_t, __m512i, uint32_t)
EMU_CONVERT(emu_cvtepu8_epi32, __m128i, uint8_t, __m512i, uint32_t)
EMU_CONVERT(emu_cvtepi8_epi32, __m128i, int8_t, __m512i, int32_t)

static inline unsigned emu_movepi32_mask(__m512i a)
{
    const emu_int v = (emu_int)a;
    unsigned mask = 0;

    for (int i = 0; i < 16; i++)
        mask |= (unsigned)(v[i] < 0) << i;
    return mask;
}

/* the one comparison that is used: greater */
static inline unsigned emu_cmp_ps_mask(__m512 a, __m512 b, int how)
{
    unsigned mask = 0;

    if (how != _CMP_GT_OQ)
        __builtin_trap();
    for (int i = 0; i < 16; i++)
        mask |= (unsigned)(a[i] > b[i]) << i;
    return mask;
}

static inline __m256 emu_half(__m512 a, int half)
{
    __m256 r;

    memcpy(&r, (const char *)&a + 32 * half, sizeof r);
    return r;
}

#undef _mm512_extractf32x8_ps /* these are macros in some headers */
#undef _mm512_cmp_ps_mask
#undef _mm512_roundscale_ps
#define _mm512_roundscale_ps        emu_roundscale_ps
#define _mm512_cmp_ps_mask          emu_cmp_ps_mask
#define _mm512_min_ps               emu_min_ps
#define _mm512_max_ps               emu_max_ps
#define _mm512_reduce_max_ps        emu_reduce_max_ps
#define _mm512_cvtps_pd             emu_cvtps_pd
#define _mm512_cvtepi32_ps          emu_cvtepi32_ps
#define _mm512_cvtepi32_epi8        emu_cvtepi32_epi8
#define _mm512_cvtepi32_epi16       emu_cvtepi32_epi16
#define _mm512_cvtepu16_epi32       emu_cvtepu16_epi32
#define _mm512_cvtepu8_epi32        emu_cvtepu8_epi32
#define _mm512_cvtepi8_epi32        emu_cvtepi8_epi32
#define _mm512_movepi32_mask        emu_movepi32_mask
#define _mm512_set1_epi32(x)        ((__m512i)((emu_int){0} + (x)))
#define _mm512_and_si512(a, b)      ((__m512i)((emu_int)(a) & (emu_int)(b)))
#define _mm512_slli_epi32(a, n)     ((__m512i)((emu_uint)(a) << (n)))
#define _mm512_castps512_ps256(a)   emu_half(a, 0)
#define _mm512_extractf32x8_ps(a, i) emu_half(a, i)
