/* quant/stats.c - imatrix files. */
#include "quant/stats.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/catalog.h"
#include "formats/checked.h"
#include "formats/gguf.h"

#define HASH_BYTES       (1u << 20)
#define MAX_ENTRIES      1000000u
#define MAX_NAME         1024
#define LEGACY_MIN_BYTES 16 /* of an entry: three counts and a value */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const gk_stats_row *)a)->name, ((const gk_stats_row *)b)->name);
}

static bool add_row(gk_stats *s, uint64_t *cap, const char *name, const float *value, uint64_t n,
                    gk_err *err)
{
    void *rows = s->row;

    for (uint64_t i = 0; i < n; i++)
        if (!isfinite(value[i]) || value[i] < 0) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "E[x^2] of column %" PRIu64 " is %g", i,
                    (double)value[i]);
            return gk_fail_at(err, NULL, name);
        }
    if (!gk_grow(&rows, cap, s->n + 1, sizeof *s->row, err))
        return false;
    s->row = rows;
    s->row[s->n++] = (gk_stats_row){.name = name, .value = value, .n = n};
    s->bytes += n * sizeof(float);
    return true;
}

/* ---- the legacy form --------------------------------------------------------------- */

static bool take_i32(const gk_file *f, uint64_t *at, int32_t *out, gk_err *err)
{
    if (*at > f->size || f->size - *at < 4) {
        gk_fail(err, GK_ERR_FORMAT, *at, "truncated: the imatrix ends within a count");
        return gk_fail_at(err, f->name, NULL);
    }
    if (!gk_file_read(f, *at, out, 4, err))
        return false;
    *at += 4;
    return true;
}

static bool legacy_fail(const gk_file *f, uint64_t at, const char *text, gk_err *err)
{
    gk_fail(err, GK_ERR_FORMAT, at, "%s", text);
    return gk_fail_at(err, f->name, NULL);
}

static bool take_entry(gk_stats *s, uint64_t *cap, const gk_file *f, uint64_t *at, gk_err *err)
{
    int32_t len, calls, n;
    uint64_t start = *at;

    if (!take_i32(f, at, &len, err))
        return false;
    if (len <= 0 || len > MAX_NAME || (uint64_t)len > f->size - *at)
        return legacy_fail(f, start, "the length of a name is out of range", err);
    char *name = gk_arena_alloc(s->arena, (uint64_t)len + 1, 1, err);
    if (name == NULL || !gk_file_read(f, *at, name, (uint64_t)len, err))
        return false;
    *at += (uint64_t)len;
    start = *at;
    if (!take_i32(f, at, &calls, err) || !take_i32(f, at, &n, err))
        return false;
    if (n <= 0 || (uint64_t)n > (f->size - *at) / 4)
        return legacy_fail(f, start, "more values than the file has bytes", err);
    float *value = gk_arena_alloc(s->arena, (uint64_t)n, sizeof *value, err);
    if (value == NULL || !gk_file_read(f, *at, value, (uint64_t)n * 4, err))
        return false;
    *at += (uint64_t)n * 4;
    for (int32_t i = 0; calls > 0 && i < n; i++)
        value[i] /= (float)calls;
    return add_row(s, cap, name, value, (uint64_t)n, err);
}

static bool read_legacy(gk_stats *s, uint64_t *cap, const gk_file *f, gk_err *err)
{
    uint64_t at = 0;
    int32_t n;

    if (!take_i32(f, &at, &n, err))
        return false;
    if (n < 1 || n > (int32_t)MAX_ENTRIES || (uint64_t)n > f->size / LEGACY_MIN_BYTES)
        return legacy_fail(f, 0, "neither a GGUF nor a legacy imatrix", err);
    for (int32_t i = 0; i < n; i++)
        if (!take_entry(s, cap, f, &at, err))
            return false;
    return true;
}

/* ---- the GGUF form ----------------------------------------------------------------- */

/* Makes means of sums [rows, cols]; see the floor in the header. */
static void divide(gk_stats *s, float *value, const float *count, uint64_t rows, uint64_t cols)
{
    double all = 0;

    for (uint64_t r = 0; r < rows; r++) {
        all += count[r] > 0 ? (double)count[r] : 0;
        s->n_thin += rows > 1 && !(count[r] >= GK_STATS_FLOOR);
    }
    for (uint64_t i = 0; i < cols; i++) {
        double sum = 0;
        for (uint64_t r = 0; r < rows; r++)
            sum += (double)value[r * cols + i];
        for (uint64_t r = 0; r < rows; r++) {
            float *v = &value[r * cols + i];
            const double own = count[r] > 0 ? (double)count[r] : 0;
            if (rows == 1 || own >= GK_STATS_FLOOR)
                *v = own > 0 ? *v / count[r] : 1;
            else if (all > 0) /* own / FLOOR * (*v / own) is the first term */
                *v = (float)(((own > 0 ? (double)*v : 0)
                              + (GK_STATS_FLOOR - own) * (sum / all)) / GK_STATS_FLOOR);
            else
                *v = 1;
        }
    }
}

static bool take_sums(gk_stats *s, uint64_t *cap, const gk_catalog *c, const gk_tensor *sums,
                      gk_err *err)
{
    const size_t len = strlen(sums->name) - strlen(".in_sum2");
    char *name = gk_arena_strn(s->arena, sums->name, len, err);
    char *other = gk_arena_printf(s->arena, err, "%.*s.counts", (int)len, sums->name);
    const uint64_t rows = gk_rows(sums), cols = gk_cols(sums);

    if (name == NULL || other == NULL)
        return false;
    const gk_tensor *counts = gk_catalog_find(c, other);
    if (counts == NULL || counts->dtype != GK_F32 || sums->dtype != GK_F32
        || gk_rows(counts) * gk_cols(counts) != rows || rows == 0 || cols == 0) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "sums without their counts in f32");
        return gk_fail_at(err, c->input[0].name, sums->name);
    }
    float *value = gk_arena_alloc(s->arena, rows * cols, sizeof *value, err);
    float *count = gk_arena_alloc(s->arena, rows, sizeof *count, err);
    if (value == NULL || count == NULL || !gk_read_part(c, sums, 0, 0, rows, 0, cols, value, err)
        || !gk_read_part(c, counts, 0, 0, gk_rows(counts), 0, gk_cols(counts), count, err))
        return false;
    divide(s, value, count, rows, cols);
    if (!add_row(s, cap, name, value, rows * cols, err))
        return false;
    s->row[s->n - 1].count = count;
    s->row[s->n - 1].n_counts = rows;
    s->bytes += rows * sizeof *count;
    return true;
}

static bool odd_tokens(const gk_catalog *c, const gk_tensor *t, const char *text, gk_err *err)
{
    gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "%s", text);
    return gk_fail_at(err, c->input[0].name, t->name);
}

/* The text that was read, and how. */
static bool take_tokens(gk_stats *s, const gk_catalog *c, gk_err *err)
{
    const gk_tensor *t = gk_catalog_find(c, "grokkit.tokens");
    uint64_t ctx;

    if (t == NULL)
        return true;
    if (t->dtype != GK_I32 || !gk_gguf_uint(c->gguf, "grokkit.ctx", &ctx) || ctx < 2
        || gk_cols(t) != ctx || gk_rows(t) == 0)
        return odd_tokens(c, t, "no windows of grokkit.ctx tokens in i32", err);
    const uint64_t n = gk_rows(t) * ctx;
    uint32_t *ids = gk_arena_alloc(s->arena, n, sizeof *ids, err);
    if (ids == NULL || !gk_read_part(c, t, 0, 0, gk_rows(t), 0, ctx, ids, err))
        return false;
    for (uint64_t i = 0; i < n; i++)
        if (ids[i] > INT32_MAX)
            return odd_tokens(c, t, "a token id below 0", err);
    s->preset = gk_gguf_string(c->gguf, "grokkit.preset", s->arena, NULL, err);
    s->switches = gk_gguf_string(c->gguf, "grokkit.switches", s->arena, NULL, err);
    if (s->preset == NULL || s->switches == NULL)
        return err->code == GK_OK
                   ? odd_tokens(c, t, "tokens, but no grokkit.preset and .switches", err) : false;
    s->ids = ids;
    s->n_ids = n;
    s->ctx = ctx;
    s->bytes += n * sizeof *ids;
    return true;
}

/* Rows of first, last, kld, err; layers whole numbers from -1, the divergence finite, neither
 * below 0. The error of one window is NaN. */
static bool is_probe(const double v[4])
{
    return v[0] >= -1 && v[1] >= v[0] && v[1] <= (double)INT32_MAX && floor(v[0]) == v[0]
           && floor(v[1]) == v[1] && v[2] >= 0 && isfinite(v[2]) && !(v[3] < 0);
}

/* What probes of sensitivity found: kinds are a key, figures a tensor. */
static bool take_probes(gk_stats *s, const gk_catalog *c, gk_err *err)
{
    const gk_tensor *t = gk_catalog_find(c, "grokkit.probes");
    const gk_gguf_value *kinds = c->gguf == NULL ? NULL
                                                 : gk_gguf_find(c->gguf, "grokkit.probe_kinds");
    gk_gguf_cursor at;
    gk_text kind = {0};

    if (t == NULL)
        return true;
    const uint64_t n = gk_rows(t);
    if (t->dtype != GK_F64 || gk_cols(t) != 4 || kinds == NULL || kinds->n != n)
        return odd_tokens(c, t, "no rows of four f64, one for each of grokkit.probe_kinds", err);
    gk_probe *probe = gk_arena_alloc(s->arena, n, sizeof *probe, err);
    double *value = gk_arena_alloc(s->arena, 4 * n, sizeof *value, err);
    unsigned char *window = gk_alloc(GK_GGUF_WINDOW_BYTES, 1, err);
    bool ok = probe != NULL && value != NULL && window != NULL
              && gk_read_part(c, t, 0, 0, n, 0, 4, value, err);
    if (ok)
        gk_gguf_walk(&at, c->gguf, kinds, window, err);
    for (uint64_t i = 0; ok && i < n; i++) {
        const double *v = value + 4 * i;
        ok = gk_gguf_next_string(&at, &kind);
        if (!ok || !is_probe(v)) {
            ok = !at.failed && odd_tokens(c, t, "a probe that is none", err);
            break;
        }
        probe[i] = (gk_probe){gk_arena_strn(s->arena, kind.data == NULL ? "" : kind.data,
                                            kind.len, err),
                              (int64_t)v[0], (int64_t)v[1], v[2], v[3]};
        ok = probe[i].kind != NULL;
    }
    s->probe = probe;
    s->n_probes = ok ? n : 0;
    s->bytes += n * sizeof *probe;
    gk_text_free(&kind);
    gk_free(window);
    return ok;
}

static bool read_gguf(gk_stats *s, uint64_t *cap, const char *path, gk_err *err)
{
    gk_catalog *c = gk_catalog_open(path, err);
    bool ok = c != NULL && gk_findings_refuse(&c->findings, err);

    for (uint64_t i = 0; ok && i < c->n_tensors; i++)
        if (gk_ends_with(c->tensor[i].name, ".in_sum2"))
            ok = take_sums(s, cap, c, &c->tensor[i], err);
    ok = ok && take_tokens(s, c, err) && take_probes(s, c, err);
    if (ok && s->n == 0) {
        gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "a GGUF without statistics (NAME.in_sum2)");
        ok = gk_fail_at(err, c->input[0].name, NULL);
    }
    gk_catalog_close(c);
    return ok;
}

/* ---- both -------------------------------------------------------------------------- */

static bool read_any(gk_stats *s, const char *path, gk_err *err)
{
    gk_file *f = gk_file_open(s->arena, path, err);
    void *buf = f == NULL ? NULL : gk_alloc(HASH_BYTES, 1, err);
    uint64_t cap = 0;
    char magic[4] = {0};

    bool ok = buf != NULL && gk_hash_file(f, 0, f->size, buf, HASH_BYTES, s->sha256, err)
              && (f->size < 4 || gk_file_read(f, 0, magic, 4, err));
    gk_free(buf);
    ok = ok
         && (memcmp(magic, "GGUF", 4) == 0 ? read_gguf(s, &cap, path, err)
                                           : read_legacy(s, &cap, f, err));
    gk_file_close(f);
    if (ok)
        qsort(s->row, (size_t)s->n, sizeof *s->row, by_name);
    for (uint64_t i = 1; ok && i < s->n; i++)
        if (strcmp(s->row[i - 1].name, s->row[i].name) == 0) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "duplicate: the entry stands twice");
            ok = gk_fail_at(err, gk_path_base(path), s->row[i].name);
        }
    return ok || gk_fail_at(err, gk_path_base(path), NULL);
}

gk_stats *gk_stats_open(const char *path, gk_err *err)
{
    gk_stats *s = gk_alloc(1, sizeof *s, err);

    if (s == NULL)
        return NULL;
    *s = (gk_stats){.arena = gk_arena_new(err)};
    if (s->arena != NULL && read_any(s, path, err))
        return s;
    gk_stats_free(s);
    return NULL;
}

void gk_stats_free(gk_stats *s)
{
    if (s == NULL)
        return;
    gk_free(s->row);
    gk_arena_free(s->arena);
    gk_free(s);
}

bool gk_stats_find(const gk_stats *s, const char *name, uint64_t expert, uint64_t n_cols,
                   const float **out, gk_err *err)
{
    const gk_stats_row key = {.name = name};
    const gk_stats_row *row = s->n == 0 ? NULL
                                        : bsearch(&key, s->row, (size_t)s->n, sizeof key, by_name);

    *out = NULL;
    if (row == NULL)
        return true;
    if (n_cols > 0 && row->n % n_cols == 0 && expert < row->n / n_cols) {
        *out = row->value + expert * n_cols;
        return true;
    }
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
            "--stats is of another model: it has %" PRIu64 " values here, the matrix %" PRIu64
            " columns; give the file that `grokkit calibrate` makes of this model", row->n, n_cols);
    return gk_fail_at(err, NULL, name);
}

double gk_stats_tokens(const gk_stats *s, const char *name, uint64_t expert)
{
    const gk_stats_row key = {.name = name};
    const gk_stats_row *row = s->n == 0 ? NULL
                                        : bsearch(&key, s->row, (size_t)s->n, sizeof key, by_name);

    const double n = row == NULL || expert >= row->n_counts ? 1 : (double)row->count[expert];

    return n >= 1 && isfinite(n) ? n : 1;
}
