/* tests/model_maker.h - what the makers of seeded models of Grok-2's architecture share.
 *
 * The same sizes and seed give the same bytes on every machine: weights are integer hashes of
 * (seed, name, row, column), scaled by one rounded multiplication. Knows nothing of the
 * project's own readers and writers, so that it can judge them. */
#ifndef GK_TESTS_MODEL_MAKER_H
#define GK_TESTS_MODEL_MAKER_H

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK_BYTES (UINT64_C(4) << 20) /* of weights that are made at once */

enum {
    HIDDEN, LAYERS, HEADS, KV_HEADS, HEAD_DIM, DENSE, MOE, EXPERTS, TOP_K, RANKS, VOCAB, SEED,
    SHARD, TEMPERATURE, ORIGINAL, POSITIONS, N_KEYS
};

static uint64_t geo[N_KEYS]; /* set first of all */
static int gate_f32;
static int no_weights, no_tables; /* holes instead: of all, of the embedding and the head */
static const char *out_dir, *maker;

static inline void die(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fprintf(stderr, "%s: ", maker);
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

/* ---- weights ---------------------------------------------------------------- */

static inline uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static inline uint64_t hash_name(const char *s)
{
    uint64_t h = geo[SEED];

    for (; *s != '\0'; s++)
        h = mix(h ^ (unsigned char)*s);
    return h;
}

/* A sum of four uniforms: bell-shaped, variance 1 after the scale. */
static inline float weight(uint64_t name, uint64_t row, uint64_t col, float scale)
{
    const uint64_t h = mix(name ^ mix(row * UINT64_C(0x1000003) + col));
    const int64_t sum = (int64_t)(h & 0xFFFF) + (int64_t)(h >> 16 & 0xFFFF)
                        + (int64_t)(h >> 32 & 0xFFFF) + (int64_t)(h >> 48) - 2 * 65535;

    return (float)sum * scale;
}

static inline uint16_t bf16(float x)
{
    uint32_t u;

    memcpy(&u, &x, 4);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

/* ---- tensors ------------------------------------------------------------------ */

/* axis: on which ranks cut it, -1: whole. gain: width of the distribution. */
typedef struct kind {
    const char *part;
    int         per_layer, per_expert, rows, cols, axis, is_norm;
    float       gain;
} kind;

#define Q_WIDTH  (-1)
#define KV_WIDTH (-2)
#define ONE      (-3)

static const kind kinds[] = {
    {"model.embed_tokens", 0, 0, VOCAB, HIDDEN, -1, 0, 1},
    {"lm_head", 0, 0, VOCAB, HIDDEN, -1, 0, 6},
    {"model.norm", 0, 0, HIDDEN, ONE, -1, 1, 1},
    {"mlp.gate_proj", 1, 0, DENSE, HIDDEN, -1, 0, 1},
    {"mlp.down_proj", 1, 0, HIDDEN, DENSE, -1, 0, 1},
    {"mlp.up_proj", 1, 0, DENSE, HIDDEN, -1, 0, 1},
    {"w1", 1, 1, MOE, HIDDEN, 0, 0, 1},
    {"w2", 1, 1, HIDDEN, MOE, 1, 0, 1},
    {"w3", 1, 1, MOE, HIDDEN, 0, 0, 1},
    {"self_attn.k_proj", 1, 0, KV_WIDTH, HIDDEN, -1, 0, 2.5f}, /* wide: the cap matters */
    {"self_attn.o_proj", 1, 0, HIDDEN, Q_WIDTH, -1, 0, 1},
    {"self_attn.q_proj", 1, 0, Q_WIDTH, HIDDEN, -1, 0, 2.5f},
    {"self_attn.v_proj", 1, 0, KV_WIDTH, HIDDEN, -1, 0, 1},
    {"pre_attn_norm", 1, 0, HIDDEN, ONE, -1, 1, 1},
    {"post_attn_norm", 1, 0, HIDDEN, ONE, -1, 1, 1},
    {"pre_moe_norm", 1, 0, HIDDEN, ONE, -1, 1, 1},
    {"post_moe_norm", 1, 0, HIDDEN, ONE, -1, 1, 1},
    {"block_sparse_moe.gate", 1, 0, EXPERTS, HIDDEN, -1, 0, 4}, /* wide: routing matters */
};
#define N_KINDS ((int)(sizeof kinds / sizeof kinds[0]))

static inline uint64_t size_of(int s)
{
    switch (s) {
    case Q_WIDTH: return geo[HEADS] * geo[HEAD_DIM];
    case KV_WIDTH: return geo[KV_HEADS] * geo[HEAD_DIM];
    case ONE: return 1;
    default: return geo[s];
    }
}

/* A tensor, or the slice [row, row + n_rows) x [col, col + n_cols) of one. */
typedef struct tensor {
    char        name[128];
    const kind *k;
    uint64_t    row, n_rows, col, n_cols, bytes;
    int         f32;
} tensor;

static inline tensor make_tensor(const kind *k, uint64_t layer, uint64_t expert, uint64_t rank,
                          uint64_t ranks)
{
    tensor t = {.k = k, .n_rows = size_of(k->rows), .n_cols = size_of(k->cols)};

    if (k->per_expert)
        snprintf(t.name, sizeof t.name, "model.layers.%" PRIu64 ".block_sparse_moe.experts.%" PRIu64
                 ".%s.weight", layer, expert, k->part);
    else if (k->per_layer)
        snprintf(t.name, sizeof t.name, "model.layers.%" PRIu64 ".%s.weight", layer, k->part);
    else
        snprintf(t.name, sizeof t.name, "%s.weight", k->part);
    if (k->axis == 0) {
        t.n_rows /= ranks;
        t.row = rank * t.n_rows;
    } else if (k->axis == 1) {
        t.n_cols /= ranks;
        t.col = rank * t.n_cols;
    }
    t.f32 = gate_f32 && strcmp(k->part, "block_sparse_moe.gate") == 0;
    t.bytes = t.n_rows * t.n_cols * (t.f32 ? 4 : 2);
    return t;
}

/* Rows [row, row + n) of t, in the bytes of the file. */
static inline void make_rows(const tensor *t, uint64_t row, uint64_t n, unsigned char *out)
{
    const uint64_t name = hash_name(t->name), size = t->f32 ? 4 : 2;
    /* four uniforms on 0..65535 have the variance 65535^2 / 3 */
    const float scale = t->k->is_norm ? 0.1f / 37837.0f
                                      : t->k->gain / (37837.0f * sqrtf((float)size_of(t->k->cols)));

#pragma omp parallel for schedule(static)
    for (uint64_t r = 0; r < n; r++)
        for (uint64_t c = 0; c < t->n_cols; c++) {
            float w = weight(name, t->row + row + r, t->col + c, scale);
            if (t->k->is_norm)
                w += 1.0f;
            const uint16_t b = bf16(w);
            unsigned char *to = out + (r * t->n_cols + c) * size;
            if (t->f32)
                memcpy(to, &w, 4);
            else
                memcpy(to, &b, 2);
        }
}

static inline void write_tensor(FILE *f, const tensor *t)
{
    const uint64_t row_bytes = t->bytes / t->n_rows;
    const uint64_t rows = row_bytes < CHUNK_BYTES ? CHUNK_BYTES / row_bytes : 1;
    unsigned char *chunk = malloc(rows * row_bytes);

    if (chunk == NULL)
        die("no memory");
    for (uint64_t r = 0, n; r < t->n_rows; r += n) {
        n = rows < t->n_rows - r ? rows : t->n_rows - r;
        make_rows(t, r, n, chunk);
        if (fwrite(chunk, row_bytes, n, f) != n)
            die("cannot write %s", t->name);
    }
    free(chunk);
}

/* ---- files ---------------------------------------------------------------------- */

static inline int widest_first(const void *a, const void *b)
{
    const tensor *x = a, *y = b;

    if (x->f32 != y->f32)
        return y->f32 - x->f32;
    return strcmp(x->name, y->name);
}

static inline FILE *create(const char *name)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", out_dir, name);
    FILE *f = fopen(path, "wb");
    if (f == NULL)
        die("%s: %s", path, strerror(errno));
    return f;
}

static inline void close_file(FILE *f, const char *name)
{
    if (ferror(f) || fclose(f) != 0)
        die("cannot write %s", name);
}

static inline int is_hole(const tensor *t)
{
    return no_weights || (no_tables && t->k->rows == VOCAB);
}

static inline void write_file(const char *name, tensor *t, uint64_t n)
{
    char *header = NULL;
    size_t size = 0;
    uint64_t at = 0;
    FILE *text = open_memstream(&header, &size);

    if (text == NULL)
        die("no memory");
    qsort(t, n, sizeof *t, widest_first);
    fprintf(text, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (uint64_t i = 0; i < n; i++) {
        fprintf(text, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%" PRIu64, t[i].name,
                t[i].f32 ? "F32" : "BF16", t[i].n_rows);
        if (t[i].k->cols != ONE)
            fprintf(text, ",%" PRIu64, t[i].n_cols);
        fprintf(text, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", at, at + t[i].bytes);
        at += t[i].bytes;
    }
    fprintf(text, "}");
    while (ftell(text) % 8 != 0)
        fputc(' ', text);
    fclose(text);
    FILE *f = create(name);
    const uint64_t length = size;
    fwrite(&length, 8, 1, f);
    fwrite(header, 1, size, f);
    for (uint64_t i = 0; i < n; i++)
        if (!is_hole(&t[i]))
            write_tensor(f, &t[i]);
        else if (fseeko(f, (off_t)t[i].bytes, SEEK_CUR) != 0)
            die("%s: %s", name, strerror(errno));
    /* a hole at the end is not yet a part of the file */
    if (fflush(f) != 0 || ftruncate(fileno(f), (off_t)(8 + size + at)) != 0)
        die("%s: %s", name, strerror(errno));
    close_file(f, name);
    free(header);
}

static inline uint64_t list_kind(const kind *k, uint64_t rank, uint64_t ranks, tensor *out)
{
    uint64_t n = 0;

    for (uint64_t l = 0; l < (k->per_layer ? geo[LAYERS] : 1); l++)
        for (uint64_t e = 0; e < (k->per_expert ? geo[EXPERTS] : 1); e++)
            out[n++] = make_tensor(k, l, e, rank, ranks);
    return n;
}

/* The name of rank's file of group k, which is that of a common one for what is whole. */
static inline const char *release_file(int k, uint64_t rank, char out[64])
{
    if (kinds[k].axis < 0)
        snprintf(out, 64, "pytorch_model-%05d-TP-common.safetensors", k);
    else
        snprintf(out, 64, "pytorch_model-%05d-TP-%03u.safetensors", k, (unsigned)rank);
    return out;
}

static inline void write_release(tensor *room)
{
    char name[64];

    for (int k = 0; k < N_KINDS; k++) {
        const uint64_t files = kinds[k].axis < 0 ? 1 : geo[RANKS];
        for (uint64_t r = 0; r < files; r++)
            write_file(release_file(k, r, name), room, list_kind(&kinds[k], r, geo[RANKS], room));
    }
}

static inline void write_config(void)
{
    FILE *f = create("config.json");

    fprintf(f, "{\n  \"architectures\": [\n    \"Grok1ForCausalLM\"\n  ],\n");
    fprintf(f, "  \"embedding_multiplier_scale\": %.17g,\n", sqrt((double)geo[HIDDEN]));
    fprintf(f, "  \"output_multiplier_scale\": 0.5,\n  \"vocab_size\": %" PRIu64 ",\n", geo[VOCAB]);
    fprintf(f, "  \"hidden_size\": %" PRIu64 ",\n  \"intermediate_size\": %" PRIu64 ",\n",
            geo[HIDDEN], geo[DENSE]);
    fprintf(f, "  \"moe_intermediate_size\": %" PRIu64 ",\n", geo[MOE]);
    fprintf(f, "  \"max_position_embeddings\": %" PRIu64 ",\n  \"num_experts_per_tok\": %" PRIu64
               ",\n", geo[POSITIONS], geo[TOP_K]);
    fprintf(f, "  \"num_local_experts\": %" PRIu64 ",\n  \"residual_moe\": true,\n", geo[EXPERTS]);
    fprintf(f, "  \"num_attention_heads\": %" PRIu64 ",\n  \"num_key_value_heads\": %" PRIu64 ",\n",
            geo[HEADS], geo[KV_HEADS]);
    fprintf(f, "  \"num_hidden_layers\": %" PRIu64 ",\n  \"head_dim\": %" PRIu64 ",\n", geo[LAYERS],
            geo[HEAD_DIM]);
    fprintf(f,
            "  \"rms_norm_eps\": 1e-05,\n  \"final_logit_softcapping\": 50,\n"
            "  \"attn_logit_softcapping\": 30.0,\n  \"router_logit_softcapping\": 30.0,\n"
            "  \"rope_theta\": 208533496,\n  \"attn_temperature_len\": %" PRIu64 ",\n"
            "  \"sliding_window_size\": -1,\n  \"global_attn_every_n\": 1,\n"
            "  \"model_type\": \"git\",\n  \"torch_dtype\": \"bfloat16\",\n"
            "  \"rope_type\": \"original\",\n  \"original_max_position_embeddings\": %" PRIu64 ",\n"
            "  \"scaling_factor\": 16.0,\n  \"extrapolation_factor\": 1.0,\n"
            "  \"attn_factor\": 1.0,\n  \"beta_fast\": 8,\n  \"beta_slow\": 1\n}\n",
            geo[TEMPERATURE], geo[ORIGINAL]);
    close_file(f, "config.json");
}

/* ---- the tokenizer -------------------------------------------------------------- */

/* [1,2,3]: the bytes of a token. */
static inline void write_bytes(FILE *f, const char *s, size_t n)
{
    fputs("[", f);
    for (size_t i = 0; i < n; i++)
        fprintf(f, "%s%u", i > 0 ? "," : "", (unsigned char)s[i]);
    fputs("]", f);
}

static inline void write_token(FILE *f, int is_first, const char *s, size_t n, uint64_t id)
{
    fputs(is_first ? "{\"bytes\":" : ",{\"bytes\":", f);
    write_bytes(f, s, n);
    fprintf(f, ",\"token\":%" PRIu64 "}", id);
}

/* The name of special token i, until the next call. */
static inline const char *special(int i)
{
    static const char *const first[] = {"<|pad|>", "<|separator|>", "<|eos|>"};
    static char name[32];

    snprintf(name, sizeof name, "<|reserved_%d|>", i);
    return i < 3 ? first[i] : name;
}

/* The 256 bytes come after the specials; returns the next id. */
static inline uint64_t write_single_bytes(FILE *f, uint64_t id)
{
    for (int b = 0; b < 256; b++) {
        const char byte = (char)b;
        write_token(f, b == 0, &byte, 1, id++);
    }
    return id;
}

/* What follows the regular tokens. */
static inline void write_specials(FILE *f, int n)
{
    fputs("],\"special_tokens\":[", f);
    for (int i = 0; i < n; i++)
        write_token(f, i == 0, special(i), strlen(special(i)), (uint64_t)i);
    fprintf(f, "],\"vocab_size\":%" PRIu64 ",\"word_split\":\"V1\"", geo[VOCAB]);
}

/* ---- the start ------------------------------------------------------------------ */

/* Makes the directory; returns room for all tensors of a file. */
static inline tensor *begin_model(const char *out)
{
    tensor *room = malloc((geo[LAYERS] * (15 + 3 * geo[EXPERTS]) + 3) * sizeof *room);

    out_dir = out;
    if (mkdir(out_dir, 0777) != 0 && errno != EEXIST)
        die("%s: %s", out_dir, strerror(errno));
    if (room == NULL)
        die("no memory");
    return room;
}

#endif
