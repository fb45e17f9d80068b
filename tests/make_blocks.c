/* tests/make_blocks.c - rows to ggml's blocks and back, for other programs to judge.
 *
 *   make_blocks TYPE N_COLS [IMPORTANCE]   f32 rows on stdin -> blocks on stdout; IMPORTANCE is
 *                                          a file of N_COLS f32
 *   make_blocks --decode TYPE N_COLS       blocks on stdin -> f32 rows
 *   make_blocks --valid TYPE N_COLS        blocks on stdin -> one byte a row, 1 or 0
 *   make_blocks --types                    the names, one a line
 *   make_blocks --cases                    the rows and importances of tests/block_rows.h */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/blocks.h"
#include "tests/block_rows.h"

#define MOST_COLS 65536

static float x[MOST_COLS], importance[MOST_COLS];
static unsigned char blocks[4 * MOST_COLS];

static void die(const char *what, const char *about)
{
    fprintf(stderr, "make_blocks: %s: %s\n", what, about);
    exit(1);
}

static const gk_blocks *find(const char *name)
{
    for (int t = 0; t < GK_N_DTYPES; t++)
        if (gk_dtype_is_block((gk_dtype)t) && strcmp(gk_dtype_get((gk_dtype)t)->name, name) == 0)
            return gk_blocks_of((gk_dtype)t);
    die("no such type", name);
    return NULL;
}

static void put(const void *bytes, size_t n)
{
    if (fwrite(bytes, 1, n, stdout) != n)
        die("cannot write", "stdout");
}

/* Fills buf from stdin; false at the end, which must lie between rows. */
static bool get(void *buf, size_t n)
{
    const size_t got = fread(buf, 1, n, stdin);

    if (got != 0 && got != n)
        die("ends within a row", "stdin");
    return got == n;
}

static void print_types(void)
{
    for (int t = 0; t < GK_N_DTYPES; t++)
        if (gk_dtype_is_block((gk_dtype)t) && gk_blocks_of((gk_dtype)t) != NULL)
            puts(gk_dtype_get((gk_dtype)t)->name);
}

static void print_cases(void)
{
    for (size_t i = 0; i < N_ROW_CASES; i++) {
        row_cases[i].fill(x);
        put(x, ROW_ELEMS * sizeof *x);
    }
    for (int kind = 0; kind < N_ROW_IMPORTANCES; kind++) {
        row_importance(kind, x);
        put(x, ROW_ELEMS * sizeof *x);
    }
}

static void read_importance(const char *path, size_t n)
{
    FILE *f = fopen(path, "rb");

    if (f == NULL || fread(importance, sizeof *importance, n, f) != n)
        die("cannot read", path);
    fclose(f);
}

int main(int argc, char **argv)
{
    const char *mode = argc > 1 && strncmp(argv[1], "--", 2) == 0 ? argv[1] + 2 : "encode";

    argv += strcmp(mode, "encode") != 0;
    argc -= strcmp(mode, "encode") != 0;
    if (strcmp(mode, "types") == 0)
        return print_types(), 0;
    if (strcmp(mode, "cases") == 0)
        return print_cases(), 0;
    if (argc < 3)
        die("usage", "[--decode|--valid] TYPE N_COLS [IMPORTANCE]");
    const gk_blocks *codec = find(argv[1]);
    const gk_dtype_row *type = gk_dtype_get(codec->dtype);
    const size_t n = strtoul(argv[2], NULL, 10),
                 row_bytes = n / type->block_elems * type->block_bytes;
    if (n == 0 || n > MOST_COLS || n % type->block_elems != 0)
        die("no whole number of blocks", argv[2]);
    if (argc > 3)
        read_importance(argv[3], n);
    if (strcmp(mode, "encode") == 0)
        while (get(x, n * sizeof *x)) {
            codec->encode(x, n, argc > 3 ? importance : NULL, blocks);
            put(blocks, row_bytes);
        }
    else if (strcmp(mode, "decode") == 0)
        while (get(blocks, row_bytes)) {
            codec->decode(blocks, n, x);
            put(x, n * sizeof *x);
        }
    else if (strcmp(mode, "valid") == 0)
        while (get(blocks, row_bytes))
            put(codec->valid(blocks, n) ? "\1" : "\0", 1);
    else
        die("unknown mode", mode);
    return 0;
}
