/* quant/blas.c - OpenBLAS through dlopen. */
#include "quant/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

typedef void sgemm_fn(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                      const float *a, int lda, const float *b, int ldb, float beta, float *c,
                      int ldc);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t one_call = PTHREAD_MUTEX_INITIALIZER;
static bool needs_lock; /* a build without locks around its buffers */
static sgemm_fn *sgemm;
static char name[160] = "none";

/* dlsym returns an object pointer; POSIX promises that it holds a function. */
static void *symbol(void *library, const char *what)
{
    return library == NULL ? NULL : dlsym(library, what);
}

static void load(void)
{
    static const char *const libraries[] = {
#if defined __x86_64__
        "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0",
#elif defined __aarch64__
        "/usr/lib/aarch64-linux-gnu/openblas-pthread/libopenblas.so.0",
#endif
        "libopenblas.so.0", "libopenblas.so", "libblas.so.3"};
    const int n = (int)(sizeof libraries / sizeof libraries[0]);
    void *library = NULL, *found = NULL;
    union {
        void *object;
        sgemm_fn *sgemm;
        void (*set_threads)(int);
        char *(*config)(void);
    } as;

#if defined __x86_64__
    /* OpenBLAS 0.3.21 does not know CPUs younger than itself and falls back to AVX2
     * there; its SkylakeX kernels run on anything with these extensions. Measured on a
     * Zen 5: 231 against 130 GFLOP/s. */
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 0);
#endif
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    for (int i = 0; found == NULL && i < n; i++) {
        library = dlopen(libraries[i], RTLD_NOW | RTLD_LOCAL);
        found = symbol(library, "cblas_sgemm");
        if (found != NULL)
            snprintf(name, sizeof name, "%s", libraries[i]);
    }
    as.object = found;
    sgemm = as.sgemm;
    as.object = symbol(library, "openblas_set_num_threads");
    if (as.object != NULL)
        as.set_threads(1);
    as.object = symbol(library, "openblas_get_config");
    if (as.object != NULL)
        snprintf(name, sizeof name, "%s", as.config());
    /* OpenBLAS built for one thread shares its buffers between callers: two of our
     * threads in it at once give wrong results (seen with libopenblas0-serial 0.3.21) */
    needs_lock = strstr(name, "SINGLE_THREADED") != NULL && strstr(name, "USE_LOCKING") == NULL;
}

bool gk_blas_open(gk_err *err)
{
    pthread_once(&once, load);
    return sgemm != NULL
           || gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                      "no BLAS library found: install libopenblas0-pthread");
}

const char *gk_blas_name(void)
{
    pthread_once(&once, load);
    return name;
}

void gk_blas_product(int m, int n, int k, const float *a, int lda, const float *b, int ldb,
                     float *c, int ldc)
{
    if (needs_lock)
        pthread_mutex_lock(&one_call);
    sgemm(ROW_MAJOR, NO_TRANS, TRANS, m, n, k, 1.0f, a, lda, b, ldb, 0.0f, c, ldc);
    if (needs_lock)
        pthread_mutex_unlock(&one_call);
}
