/* tests/bench/blocks.c - what the block codecs do on one thread, for each instruction set.
 *
 *   blocks [TYPE]    a table: GB/s of bf16 (two bytes a weight) of encoding without and with
 *                    importance and of decoding
 *
 * Each figure is the best of many short runs within a fixed time. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "quant/blocks.h"
#include "quant/kernels.h"

#define SECONDS 0.2
#define ELEMS   16384 /* 64 KiB of f32, in the second-level cache */

static float x[ELEMS], v[ELEMS], out[ELEMS];
static unsigned char blocks[4 * ELEMS];

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double uniform(uint32_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 17;
    *s ^= *s << 5;
    return ((double)*s + 0.5) / 4294967296.0;
}

/* Weights as models have them: normal, as bf16. */
static void fill(void)
{
    uint32_t s = 0x12345678, bits;

    for (int i = 0; i < ELEMS; i++) {
        const double r = sqrt(-2 * log(uniform(&s)));
        x[i] = (float)(0.02 * r * cos(6.283185307179586 * uniform(&s)));
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0xFFFF0000u;
        memcpy(&x[i], &bits, sizeof bits);
        v[i] = (float)(0.01 + uniform(&s));
    }
}

enum { ENCODE, ENCODE_WEIGHTED, DECODE, N_WAYS };

static double rate(const gk_blocks *codec, int way)
{
    double best = 0;

    for (const double begin = now(); now() - begin < SECONDS;) {
        const double start = now();
        if (way == DECODE)
            codec->decode(blocks, ELEMS, out);
        else
            codec->encode(x, ELEMS, way == ENCODE ? NULL : v, blocks);
        const double got = 2.0 * ELEMS / (now() - start);
        best = got > best ? got : best;
    }
    return best / 1e9;
}

int main(int argc, char **argv)
{
    fill();
    printf("blocks, one thread, GB/s of bf16 ");
    for (int i = 0; gk_kernels_nth(i) != NULL; i++)
        printf("  %8s  weighted  decode", gk_kernels_nth(i)->isa);
    printf("\n");
    for (int t = GK_N_SAFETENSORS; t < GK_N_CODED; t++) {
        const char *name = gk_dtype_get((gk_dtype)t)->name;
        if (argc > 1 && strcmp(argv[1], name) != 0)
            continue;
        printf("  %-31s", name);
        for (int i = 0; gk_blocks_nth(i, (gk_dtype)t) != NULL; i++)
            for (int way = 0; way < N_WAYS; way++)
                printf("  %8.3f", rate(gk_blocks_nth(i, (gk_dtype)t), way));
        printf("\n");
    }
    return 0;
}
