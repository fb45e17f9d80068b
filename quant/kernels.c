/* quant/kernels.c - which table this CPU runs. */
#include "quant/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined __x86_64__
#include <cpuid.h>

/* clang 14 does not know this feature's name. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

const gk_kernels *gk_kernels_nth(int i)
{
    const gk_kernels *have[3] = {&gk_kernels_scalar, NULL, NULL};
    int n = 1;

#if defined __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        have[n++] = &gk_kernels_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        have[n++] = &gk_kernels_avx512;
#endif
    return i >= 0 && i < n ? have[i] : NULL;
}

static const gk_kernels *pick(void)
{
    const char *wish = getenv("GK_ISA");
    const gk_kernels *best = &gk_kernels_scalar;

    for (int i = 0; gk_kernels_nth(i) != NULL; i++) {
        best = gk_kernels_nth(i);
        if (wish != NULL && strcmp(wish, best->isa) == 0)
            return best;
    }
    return best;
}

const gk_kernels *gk_kernels_get(void)
{
    static const gk_kernels *picked;
    const gk_kernels *k = __atomic_load_n(&picked, __ATOMIC_ACQUIRE);

    if (k == NULL) {
        k = pick(); /* every thread finds the same */
        __atomic_store_n(&picked, k, __ATOMIC_RELEASE);
    }
    return k;
}

bool gk_error_sums_total(const gk_error_sums *s, uint64_t n, double *error, double *square)
{
    *error = *square = 0;
    for (int i = 0; i < 4; i++) {
        *error += s->error[i];
        *square += s->square[i];
    }
    /* a mean square of 1e-24 leaves those of errors, 1e-11 as large with 8 bits, in f32's range */
    return *error < INFINITY && *square < INFINITY && *square >= 1e-24 * (double)n;
}
