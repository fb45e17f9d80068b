/* tests/bench/limits.c - what the machine can do, and what the kernels do with it.
 *
 *   limits FILE     lines "NAME VALUE" for bench.sh: memcpy and read rates in GB/s, BLAS in
 *                   GFLOP/s; plain4 and plain8, GB/s of input, are what all threads (plain4-1:
 *                   one) read and write when int4-g128 or int8-g128 cost nothing; then a table
 *                   of kernels
 *
 * Each figure is the best of many short runs within a fixed time. */
#include <fcntl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "formats/io.h"
#include "quant/kernels.h"
#include "quant/scale_costs.h"
#include "quant/blas.h"

#define SECONDS 0.25
#define BYTES   ((size_t)256 << 20)
#define ELEMS   16384 /* of a kernel run: 64 KiB of f32, in the second-level cache */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double copy_rate(int threads)
{
    char *from = malloc(BYTES), *to = malloc(BYTES);
    double best = 0;

    memset(from, 1, BYTES);
    memset(to, 2, BYTES);
    for (const double begin = now(); now() - begin < 4 * SECONDS;) {
        const double start = now();
#pragma omp parallel for num_threads(threads) schedule(static)
        for (int i = 0; i < threads; i++)
            memcpy(to + BYTES / (size_t)threads * (size_t)i,
                   from + BYTES / (size_t)threads * (size_t)i, BYTES / (size_t)threads);
        const double rate = (double)BYTES / (now() - start);
        best = rate > best ? rate : best;
    }
    free(from);
    free(to);
    return best / 1e9;
}

/* From the page cache, when the file was read just before. */
static double read_rate(const char *path)
{
    gk_err err = {0};
    gk_arena *a = gk_arena_new(&err);
    gk_file *f = gk_file_open(a, path, &err);
    const uint64_t chunk = 4u << 20;
    char *buf = malloc(chunk);
    double best = 0;

    for (int round = 0; f != NULL && round < 4; round++) {
        const double start = now();
        for (uint64_t at = 0; at + chunk <= f->size; at += chunk)
            if (!gk_file_read(f, at, buf, chunk, &err))
                exit(1);
        const double rate = (double)(f->size / chunk * chunk) / (now() - start);
        best = rate > best ? rate : best;
    }
    gk_file_close(f);
    gk_arena_free(a);
    free(buf);
    return best / 1e9;
}

/* Threads read tiles of bf16 and write, to a new file in memory, the bytes that groups of 128
 * with codes of so many bits take. Returns GB/s of input; 0 where there is no such place. */
static double plain_rate(const char *path, int bits, int threads)
{
    const size_t in = (size_t)128 << 10, out = in / 256 * (size_t)(16 * bits + 2);
    const int from = open(path, O_RDONLY);
    char name[] = "/dev/shm/grokkit-limits.XXXXXX";
    const int to = mkstemp(name);
    const long tiles = from < 0 ? 0 : (long)lseek(from, 0, SEEK_END) / (long)in;
    double best = 0;

    if (from < 0)
        exit(1);
    if (to >= 0)
        unlink(name);
    for (const double begin = now(); to >= 0 && now() - begin < 4 * SECONDS;) {
        if (ftruncate(to, 0) != 0)
            exit(1);
        const double start = now();
#pragma omp parallel num_threads(threads)
        {
            char *buf = malloc(in);
#pragma omp for schedule(dynamic)
            for (long at = 0; at < tiles; at++)
                if (pread(from, buf, in, at * (off_t)in) != (ssize_t)in
                    || pwrite(to, buf, out, at * (off_t)out) != (ssize_t)out)
                    exit(1);
            free(buf);
        }
        const double rate = (double)tiles * (double)in / (now() - start);
        best = rate > best ? rate : best;
    }
    if (to >= 0)
        close(to);
    close(from);
    return best / 1e9;
}

static double product_rate(void)
{
    enum { M = 512, N = 512, K = 1024 };
    float *a = malloc(M * K * sizeof *a), *b = malloc(N * K * sizeof *b);
    float *c = malloc(M * N * sizeof *c);
    gk_err err = {0};
    double best = 0;

    if (!gk_blas_open(&err))
        exit(1);
    for (int i = 0; i < M * K; i++)
        a[i] = b[i] = (float)(i % 7 - 3);
    for (const double begin = now(); now() - begin < 4 * SECONDS;) {
        const double start = now();
        gk_blas_product(M, N, K, a, K, b, K, c, N);
        const double rate = 2.0 * M * N * K / (now() - start);
        best = rate > best ? rate : best;
    }
    free(a);
    free(b);
    free(c);
    return best / 1e9;
}

/* ---- kernels ---------------------------------------------------------------------- */

#define ROW   4096 /* weights of a call; what works on groups gets GROUP of them */
#define GROUP 128

static float w[ELEMS], v[ELEMS];
static unsigned char half[2 * ELEMS], other[2 * ELEMS], packed[ELEMS];
static int8_t code[ELEMS];
static const gk_grid grid = {-8, 7, 0};
static gk_error_sums sums;
static volatile double keep; /* what would not be computed if nobody asked */

/* One call of kernel `which` on weights i .. i + n - 1. */
static void call(const gk_kernels *k, int which, int i, uint64_t n)
{
    static const gk_try try[GK_TRIES] = {{0.01f, 0}, {-0.02f, 0}, {0.03f, 0}, {-0.04f, 0}};
    double x[GK_TRIES];
    float lo, hi;
    uint16_t peak;
    uint32_t cost[GK_COST_SCALES];

    switch (which) {
    case 0: k->bf16_to_f32(half + 2 * i, n, w + i); break;
    case 1: k->f32_to_bf16(w + i, n, half + 2 * i); break;
    case 2: k->f16_to_f32(other + 2 * i, n, v + i); break;
    case 3: k->f32_to_f16(w + i, n, other + 2 * i); break;
    case 4: keep = (double)k->nonfinite_bf16(half + 2 * i, n); break;
    case 5: keep = (double)k->nonfinite_f32(w + i, n); break;
    case 6: k->pack4(code + i, n, packed + i / 2); break;
    case 7: k->unpack4(packed + i / 2, n, code + i); break;
    case 8: k->pack8(code + i, n, packed + i); break;
    case 9: k->row_error(w + i, v + i, n, &x[0], &x[1]); keep = x[0]; break;
    case 10: k->decode(code + i, n, 0, 0.01f, v + i); break;
    case 11: k->range(w + i, n, &lo, &hi); keep = (double)lo; break;
    case 12: k->encode_f32(w + i, n, 0.01f, &grid, code + i, &sums); break;
    case 13: k->encode_bf16(half + 2 * i, n, 0.01f, &grid, code + i, &sums); break;
    case 14: k->errors(w + i, NULL, n, &grid, try, x); keep = x[0]; break;
    case 15: k->fit(w + i, NULL, n, 0.01f, &grid, &x[0], &x[1]); keep = x[0]; break;
    case 16: k->peaks_bf16(half + 2 * i, n, n, &peak); keep = peak; break;
    default: k->costs(w + i, n, 2000, gk_scale_costs(), cost); keep = cost[0]; break;
    }
}

static const char *const names[] = {"bf16_to_f32", "f32_to_bf16", "f16_to_f32", "f32_to_f16",
                                    "nonfinite_bf16", "nonfinite_f32", "pack4", "unpack4", "pack8",
                                    "row_error", "decode", "range", "encode_f32",
                                    "encode_bf16", "errors (4 tries)", "fit",
                                    "peaks_bf16", "costs (32 tries)"};

static void run(const gk_kernels *k, int which)
{
    const int n = which < 10 ? ROW : GROUP;

    for (int i = 0; i < ELEMS; i += n)
        call(k, which, i, (uint64_t)n);
}

/* Weights a second, in 10^9. */
static double kernel_rate(const gk_kernels *k, int which)
{
    double best = 0;

    for (const double begin = now(); now() - begin < SECONDS / 3;) {
        const double start = now();
        run(k, which);
        const double rate = ELEMS / (now() - start);
        best = rate > best ? rate : best;
    }
    return best / 1e9;
}

static void kernels(void)
{
    const int n = (int)(sizeof names / sizeof names[0]);

    printf("\nkernel            ");
    for (int i = 0; gk_kernels_nth(i) != NULL; i++)
        printf("  %12s", gk_kernels_nth(i)->isa);
    printf("   (10^9 weights/s, one thread)\n");
    for (int which = 0; which < n; which++) {
        double scalar = 0;
        printf("  %-16s", names[which]);
        for (int i = 0; gk_kernels_nth(i) != NULL; i++) {
            const double rate = kernel_rate(gk_kernels_nth(i), which);
            if (i == 0) {
                scalar = rate;
                printf("  %12.3f", rate);
            } else {
                printf("  %6.3f %4.1fx", rate, rate / scalar);
            }
        }
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    const int threads = omp_get_max_threads();
    uint32_t seed = 1;

    if (argc != 2)
        return 2;
    for (int i = 0; i < ELEMS; i++) {
        seed = seed * 1664525u + 1013904223u;
        w[i] = (float)(int32_t)seed / 4e10f;
    }
    gk_kernels_get()->f32_to_bf16(w, ELEMS, half);
    printf("memcpy1 %.2f\n", copy_rate(1));
    printf("memcpy %.2f\n", copy_rate(threads));
    printf("read1 %.2f\n", read_rate(argv[1]));
    printf("plain4-1 %.2f\n", plain_rate(argv[1], 4, 1));
    printf("plain8-1 %.2f\n", plain_rate(argv[1], 8, 1));
    printf("plain4 %.2f\n", plain_rate(argv[1], 4, threads));
    printf("plain8 %.2f\n", plain_rate(argv[1], 8, threads));
    printf("gemm1 %.1f\n", product_rate());
    kernels();
    return 0;
}
