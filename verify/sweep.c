/* verify/sweep.c - units of one pass, shared among threads.
 *
 * A file with a digest to check is one unit, read from its first byte to its last; the pieces of
 * tensors in it are shown to the value scan from the same buffer. What no such file shows (or
 * showed until a read failed) is read tensor by tensor afterwards. */
#include "verify/sweep.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/model.h"

#define TILE_BYTES (UINT64_C(1) << 20) /* hashed and looked at while it is in the cache */
#define BUF_BYTES  (TILE_BYTES + 65536)
#define DECODED_VALUES (UINT64_C(1) << 18) /* of an encoded tensor at once, or one row */

/* A piece of a tensor where it lies in a file that is digested. */
typedef struct span {
    uint64_t off, bytes, tensor, run, piece;
    uint32_t input;
    int part;
} span;

typedef struct unit {
    uint64_t row, n_rows; /* rows of sums (by order[]), or none: a tensor */
    uint64_t tensor, bytes;
} unit;

typedef struct pass {
    const gk_sweep *p;
    unit *unit;
    uint64_t n_units, next;
    uint64_t *order; /* rows of sums, those of one file together */
    span *span;
    uint64_t n_spans, cap_spans;
    bool *left;     /* of each tensor: to be read by itself */
    gk_err *failed; /* the first that stops all, else NULL */
    gk_err failure;
} pass;

/* The digests that a stretch of bytes goes into. */
typedef struct digests {
    gk_hash *of[2];
} digests;

static bool stopped(const pass *x, gk_err *err)
{
    return x->p->stop != NULL && *x->p->stop
           && !gk_fail(err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
}

static void digest(const digests *d, const void *bytes, uint64_t n)
{
    for (int i = 0; d != NULL && i < 2; i++)
        if (d->of[i] != NULL)
            gk_hash_add(d->of[i], bytes, n);
}

static void tell(const pass *x, uint64_t bytes, const char *name)
{
    if (x->p->progress != NULL)
        x->p->progress(x->p->context, bytes, name);
}

/* ---- values ------------------------------------------------------------------------- */

/* Reads a piece (NULL: a whole part) tile by tile. d: where its bytes go, too; or NULL. */
static bool scan(const pass *x, const gk_run_of *r, int part_index, const gk_file *file,
                 const digests *d, unsigned char *buf, gk_err *err)
{
    const gk_part *part = r->part;
    const gk_piece *p = r->piece;
    const uint64_t top = p != NULL ? p->row : 0, left = p != NULL ? p->col : 0;
    const uint64_t n_rows = p != NULL ? p->n_rows : part->n_rows;
    const uint64_t n_cols = p != NULL ? p->n_cols : part->n_cols;
    const uint64_t width = gk_row_bytes(part->dtype, n_cols);
    const uint64_t block = gk_dtype_get(part->dtype)->block_elems;
    /* whole rows, or pieces of one that is too wide */
    const uint64_t cols = width <= TILE_BYTES ? n_cols : TILE_BYTES / 8 / block * block;
    const uint64_t rows = width <= TILE_BYTES ? TILE_BYTES / gk_max(width, 1) : 1;

    for (uint64_t row = 0; row < n_rows; row += rows)
        for (uint64_t col = 0; col < n_cols; col += cols) {
            const uint64_t n = gk_min(rows, n_rows - row), m = gk_min(cols, n_cols - col);
            const uint64_t bytes = n * gk_row_bytes(part->dtype, m);
            const gk_sight tile = {top + row, n, left + col, m, buf};
            if (stopped(x, err))
                return false;
            if (!(p != NULL
                      ? gk_file_read(file, p->off + row * width + gk_row_bytes(part->dtype, col),
                                     buf, bytes, err)
                      : gk_read_part(x->p->c, r->tensor, part_index, row, n, col, m, buf, err)))
                return gk_fail_at(err, NULL, r->tensor->name);
            digest(d, buf, bytes);
            if (!gk_values_see(x->p->values, r, &tile, err))
                return false;
            tell(x, bytes, r->tensor->name);
        }
    return true;
}

static bool scan_tensor(const pass *x, uint64_t index, unsigned char *buf, gk_err *err)
{
    const gk_catalog *c = x->p->c;
    const gk_tensor *t = &c->tensor[index];
    const bool by_piece = gk_values_by_piece(x->p->values, index);
    gk_run_of r = {.tensor = t, .run = gk_values_first(x->p->values, index)};
    bool ok = true;

    for (int i = 0; ok && i < gk_n_parts(t); i++) {
        gk_part_room room;
        r.part = gk_part_of(t, i, &room);
        r.piece = NULL;
        if (gk_values_can_skip(x->p->values, index, r.part)) {
            r.run += by_piece ? r.part->n_pieces : 0;
            continue;
        }
        if (!by_piece)
            ok = scan(x, &r, i, NULL, NULL, buf, err);
        for (uint64_t k = 0; ok && by_piece && k < r.part->n_pieces; k++, r.run++) {
            r.piece = &r.part->piece[k];
            ok = scan(x, &r, i, c->input[r.piece->stored->input].file, NULL, buf, err);
        }
    }
    return ok;
}

/* Shows the values of an encoded tensor, whole rows at a time. */
static bool scan_decoded(const pass *x, uint64_t index, gk_err *err)
{
    const gk_tensor *t = &x->p->c->tensor[index];
    const uint64_t cols = gk_cols(t), rows = gk_max(DECODED_VALUES / gk_max(cols, 1), 1);
    const uint64_t each = gk_div_up(gk_rows(t), rows);
    float *v = gk_alloc(rows * cols, sizeof *v, err);
    void *scratch = v == NULL ? NULL
                              : gk_alloc(gk_decode_scratch_bytes(t, rows, cols) + 64, 1, err);
    bool ok = scratch != NULL;

    for (uint64_t r = 0; ok && r < gk_rows(t); r += rows) {
        const uint64_t n = gk_min(rows, gk_rows(t) - r), rect[4] = {r, n, 0, cols};
        const gk_sight tile = {r, n, 0, cols, (const unsigned char *)v};
        ok = !stopped(x, err) && gk_decode(x->p->c, t, rect, v, scratch, err)
             && gk_values_see_decoded(x->p->values, index, &tile, err);
        if (ok)
            tell(x, gk_tensor_bytes(t) / each, t->name);
    }
    gk_free(scratch);
    gk_free(v);
    return ok;
}

/* With keep_going a failed read is kept for the report, and the pass goes on. */
static bool values_unit(pass *x, uint64_t index, unsigned char *buf, gk_err *err)
{
    gk_err own = {0};

    const bool decoded = gk_values_wants_decoded(x->p->values, index);
    if ((!x->left[index] || scan_tensor(x, index, buf, &own))
        && (!decoded || scan_decoded(x, index, &own)))
        return true;
    if (x->p->keep_going && own.code == GK_ERR_IO)
        return gk_values_failed(x->p->values, index, &own, err);
    *err = own;
    return false;
}

/* ---- files -------------------------------------------------------------------------- */

/* Digests the bytes [*at, end) of a file that nobody looks at. */
static bool digest_gap(const pass *x, const gk_file *f, uint64_t *at, uint64_t end,
                       const digests *d, unsigned char *buf, gk_err *err)
{
    while (*at < end) {
        const uint64_t n = gk_min(end - *at, TILE_BYTES);
        if (stopped(x, err) || !gk_file_read(f, *at, buf, n, err))
            return false;
        digest(d, buf, n);
        tell(x, n, f->name);
        *at += n;
    }
    return true;
}

/* Digests a whole file; its spans, n of them by offset, go to the value scan. */
static bool digest_file(const pass *x, const gk_file *f, const span *s, uint64_t n,
                        const digests *d, unsigned char *buf, gk_err *err)
{
    uint64_t at = 0;

    for (uint64_t i = 0; i < n; i++) {
        const gk_tensor *t = &x->p->c->tensor[s[i].tensor];
        gk_part_room room;
        gk_run_of r = {.tensor = t, .run = s[i].run};
        if (__atomic_load_n(&x->left[s[i].tensor], __ATOMIC_RELAXED))
            continue;
        r.part = gk_part_of(t, s[i].part, &room);
        r.piece = &r.part->piece[s[i].piece];
        if (!digest_gap(x, f, &at, s[i].off, d, buf, err)
            || !scan(x, &r, s[i].part, f, d, buf, err))
            return false;
        at += s[i].bytes;
    }
    return digest_gap(x, f, &at, f->size, d, buf, err);
}

/* The spans of the weight file that a row names; *n = 0 when it is none. */
static const span *spans_of(const pass *x, const gk_sum *row, uint64_t *n)
{
    const gk_catalog *c = x->p->c;
    uint64_t input = 0, first = 0, end;

    *n = 0;
    while (input < c->n_inputs && strcmp(c->input[input].name, row->name) != 0)
        input++;
    if (row->path != NULL || input == c->n_inputs)
        return NULL;
    while (first < x->n_spans && x->span[first].input < input)
        first++;
    for (end = first; end < x->n_spans && x->span[end].input == input;)
        end++;
    *n = end - first;
    return x->span + first;
}

/* What was shown of tensors in a file before its reading failed is forgotten. */
static void leave(pass *x, const span *s, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        __atomic_store_n(&x->left[s[i].tensor], true, __ATOMIC_RELAXED);
}

/* All rows of one file. */
static bool file_unit(pass *x, const unit *u, unsigned char *buf, gk_err *err)
{
    gk_sum *row = x->p->sums->row;
    const gk_sum *one = &row[x->order[u->row]];
    gk_arena *a = gk_arena_new(err);
    gk_err own = {0};
    digests d = {{NULL, NULL}};
    char hex[2][GK_SHA256_HEX] = {"", ""};
    uint64_t n_spans, bytes = 0;
    bool blob = false, ok;

    if (a == NULL)
        return false;
    const span *spans = spans_of(x, one, &n_spans);
    for (uint64_t i = 0; i < u->n_rows; i++)
        blob |= row[x->order[u->row + i]].blob;
    gk_file *f = one->path != NULL ? gk_file_open(a, one->path, &own)
                                   : gk_catalog_file(a, x->p->c, one->name, &own);
    ok = f != NULL && (d.of[0] = gk_hash_new(&own)) != NULL
         && (!blob || (d.of[1] = gk_hash_begin_blob(f->size, &own)) != NULL)
         && digest_file(x, f, spans, n_spans, &d, buf, &own);
    for (int i = 0; i < 2; i++)
        if (d.of[i] != NULL)
            gk_hash_end(d.of[i], hex[i]);
    bytes = f == NULL ? 0 : f->size;
    gk_file_close(f);
    gk_arena_free(a);
    if (!ok)
        leave(x, spans, n_spans);
    for (uint64_t i = 0; i < u->n_rows; i++) {
        gk_sum *s = &row[x->order[u->row + i]];
        s->failure = ok ? GK_OK : own.code;
        s->bytes = bytes;
        if (!ok)
            continue;
        memcpy(s->sha256, hex[0], sizeof s->sha256);
        memcpy(s->found, hex[s->blob], sizeof s->found);
    }
    if (!ok && (own.code == GK_ERR_NOMEM || own.code == GK_ERR_INTERRUPTED)) {
        *err = own;
        return false;
    }
    return true;
}

/* ---- tensors and entries -------------------------------------------------------------- */

static bool digest_entry(const pass *x, const gk_stored *s, gk_hash *h, unsigned char *buf,
                         gk_err *err)
{
    const digests d = {{h, NULL}};
    uint64_t at = s->off;

    return digest_gap(x, x->p->c->input[s->input].file, &at, s->off + gk_stored_bytes(s), &d, buf,
                      err);
}

static bool digest_range(const pass *x, gk_sum *s, gk_hash *h, unsigned char *buf, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    gk_file *f = a == NULL         ? NULL
                 : s->path != NULL ? gk_file_open(a, s->path, err)
                                   : gk_catalog_file(a, x->p->c, s->name, err);
    const digests d = {{h, NULL}};
    uint64_t at = s->off, end;
    bool ok = f != NULL;

    if (ok && gk_add(s->off, s->expected_bytes, &end)) {
        ok = digest_gap(x, f, &at, gk_min(end, gk_max(f->size, s->off)), &d, buf, err);
        s->bytes = at - s->off;
    }
    gk_file_close(f);
    gk_arena_free(a);
    return ok;
}

static bool compute(const pass *x, gk_sum *s, unsigned char *buf, gk_err *err)
{
    const gk_catalog *c = x->p->c;

    if (s->of == GK_SUM_TENSOR) {
        s->bytes = gk_tensor_bytes(s->tensor);
        const bool ok = gk_tensor_digest(c, s->tensor, buf, TILE_BYTES, s->found, err);
        tell(x, s->bytes, s->name);
        return ok;
    }
    gk_hash *h = gk_hash_begin(s->kind, err);
    bool ok = h != NULL;
    if (ok && s->of == GK_SUM_ENTRY) {
        s->bytes = gk_stored_bytes(s->entry);
        ok = digest_entry(x, s->entry, h, buf, err);
    }
    if (ok && s->of == GK_SUM_RANGE)
        ok = digest_range(x, s, h, buf, err);
    for (uint64_t i = 0; ok && s->of == GK_SUM_PAYLOAD && i < c->n_stored; i++) {
        if (c->stored[i].input != s->input)
            continue;
        s->bytes += gk_stored_bytes(&c->stored[i]);
        ok = digest_entry(x, &c->stored[i], h, buf, err);
    }
    if (h != NULL)
        gk_hash_end(h, s->found);
    return ok;
}

static bool row_unit(const pass *x, gk_sum *s, unsigned char *buf, gk_err *err)
{
    gk_err own = {0};

    if (s->failure != GK_OK)
        return true;
    if (stopped(x, err))
        return false;
    if (compute(x, s, buf, &own)) {
        if (s->kind == GK_HASH_SHA256)
            memcpy(s->sha256, s->found, sizeof s->sha256);
        return true;
    }
    s->failure = own.code;
    s->found[0] = '\0';
    if (own.code != GK_ERR_NOMEM && own.code != GK_ERR_INTERRUPTED)
        return true;
    *err = own;
    return false;
}

bool gk_tensor_digest(const gk_catalog *c, const gk_tensor *t, void *buf, uint64_t buf_bytes,
                      char hex[65], gk_err *err)
{
    gk_hash *hash = gk_hash_new(err);
    bool ok = hash != NULL;

    for (int i = 0; ok && i < gk_n_parts(t); i++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, i, &room);
        const uint64_t block = gk_dtype_get(part->dtype)->block_elems;
        const uint64_t row_bytes = gk_row_bytes(part->dtype, part->n_cols);
        const uint64_t cols = row_bytes <= buf_bytes ? part->n_cols : buf_bytes / 8 / block * block;
        const uint64_t rows = gk_max(buf_bytes / gk_max(gk_row_bytes(part->dtype, cols), 1), 1);
        /* several rows at once, or pieces of one: the order of bytes is the same */
        const uint64_t step = cols == part->n_cols ? rows : 1;
        for (uint64_t r = 0; ok && r < part->n_rows; r += step)
            for (uint64_t col = 0; ok && col < part->n_cols; col += cols) {
                const uint64_t n = gk_min(step, part->n_rows - r);
                const uint64_t m = gk_min(cols, part->n_cols - col);
                ok = gk_read_part(c, t, i, r, n, col, m, buf, err);
                if (ok)
                    gk_hash_add(hash, buf, n * gk_row_bytes(part->dtype, m));
            }
    }
    if (hash != NULL)
        gk_hash_end(hash, hex);
    return ok;
}

/* ---- planning ------------------------------------------------------------------------- */

static int by_file(const void *a, const void *b, void *rows)
{
    const gk_sum *x = (const gk_sum *)rows + *(const uint64_t *)a;
    const gk_sum *y = (const gk_sum *)rows + *(const uint64_t *)b;
    int order = (x->of > y->of) - (x->of < y->of);

    if (order == 0 && x->of == GK_SUM_FILE)
        order = strcmp(x->name, y->name);
    if (order == 0 && x->of == GK_SUM_FILE)
        order = strcmp(x->path == NULL ? "" : x->path, y->path == NULL ? "" : y->path);
    return order != 0 ? order : (x > y) - (x < y);
}

static int by_size(const void *a, const void *b)
{
    const unit *x = a, *y = b;

    if (x->bytes != y->bytes)
        return x->bytes > y->bytes ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static int by_place(const void *a, const void *b)
{
    const span *x = a, *y = b;

    if (x->input != y->input)
        return x->input < y->input ? -1 : 1;
    if (x->off != y->off)
        return x->off < y->off ? -1 : 1;
    return (x->run > y->run) - (x->run < y->run);
}

static uint64_t bytes_of(const gk_catalog *c, const gk_sum *s)
{
    for (uint64_t i = 0; s->of == GK_SUM_FILE && i < c->n_inputs; i++)
        if (strcmp(c->input[i].name, s->name) == 0)
            return c->input[i].file->size;
    return s->of == GK_SUM_TENSOR                           ? gk_tensor_bytes(s->tensor)
           : s->of == GK_SUM_ENTRY && s->entry != NULL      ? gk_stored_bytes(s->entry)
           : s->of == GK_SUM_PAYLOAD && s->failure == GK_OK ? c->input[s->input].file->size
                                                            : 0;
}

static bool same_file(const gk_sum *a, const gk_sum *b)
{
    return a->of == GK_SUM_FILE && b->of == GK_SUM_FILE && strcmp(a->name, b->name) == 0
           && strcmp(a->path == NULL ? "" : a->path, b->path == NULL ? "" : b->path) == 0;
}

static bool plan_rows(pass *x, gk_err *err)
{
    gk_sums *s = x->p->sums;
    const uint64_t n = s == NULL ? 0 : s->n;

    x->order = gk_alloc(n, sizeof *x->order, err);
    x->unit = x->order == NULL ? NULL
                               : gk_alloc(gk_max(n, x->p->c->n_tensors), sizeof *x->unit, err);
    if (x->unit == NULL)
        return false;
    for (uint64_t i = 0; i < n; i++)
        x->order[i] = i;
    if (n > 0)
        qsort_r(x->order, (size_t)n, sizeof *x->order, by_file, s->row);
    for (uint64_t i = 0, next; i < n; i = next) {
        const gk_sum *one = &s->row[x->order[i]];
        for (next = i + 1; next < n && same_file(one, &s->row[x->order[next]]);)
            next++;
        x->unit[x->n_units++] = (unit){i, next - i, 0, bytes_of(x->p->c, one)};
    }
    qsort(x->unit, (size_t)x->n_units, sizeof *x->unit, by_size);
    return true;
}

/* Marks the weight files that will be digested. */
static bool mark_inputs(const pass *x, bool *digested)
{
    bool any = false;

    for (uint64_t i = 0; i < x->p->c->n_inputs; i++)
        for (uint64_t k = 0; !digested[i] && x->p->sums != NULL && k < x->p->sums->n; k++) {
            const gk_sum *s = &x->p->sums->row[k];
            digested[i] = s->of == GK_SUM_FILE && s->path == NULL
                          && strcmp(s->name, x->p->c->input[i].name) == 0;
            any |= digested[i];
        }
    return any;
}

/* Whether all pieces of a tensor lie in files that are digested. */
static bool is_shown(const gk_tensor *t, const bool *digested)
{
    for (int i = 0; i < gk_n_parts(t); i++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, i, &room);
        for (uint64_t k = 0; k < part->n_pieces; k++)
            if (!digested[part->piece[k].stored->input])
                return false;
    }
    return true;
}

static bool add_spans(pass *x, uint64_t index, gk_err *err)
{
    const gk_tensor *t = &x->p->c->tensor[index];
    uint64_t run = gk_values_first(x->p->values, index);

    for (int i = 0; i < gk_n_parts(t); i++) {
        gk_part_room room;
        const gk_part *part = gk_part_of(t, i, &room);
        for (uint64_t k = 0; k < part->n_pieces; k++, run++) {
            const gk_piece *p = &part->piece[k];
            void *grown = x->span;
            const uint64_t bytes = p->n_rows * gk_row_bytes(part->dtype, p->n_cols);
            if (bytes == 0)
                continue;
            if (!gk_grow(&grown, &x->cap_spans, x->n_spans + 1, sizeof *x->span, err))
                return false;
            x->span = grown;
            x->span[x->n_spans++] = (span){p->off, bytes, index, run, k, p->stored->input, i};
        }
    }
    return true;
}

/* Where two spans share bytes (tied tensors) only the first is shown to the scan. */
static void leave_overlaps(pass *x)
{
    uint64_t end = 0;

    for (uint64_t i = 0; i < x->n_spans; i++) {
        if (i > 0 && x->span[i].input != x->span[i - 1].input)
            end = 0;
        if (x->span[i].off < end)
            x->left[x->span[i].tensor] = true;
        else if (!x->left[x->span[i].tensor])
            end = x->span[i].off + x->span[i].bytes;
    }
}

/* Decides which tensors are looked at while files are digested. */
static bool plan_values(pass *x, gk_err *err)
{
    const gk_catalog *c = x->p->c;
    bool *digested = gk_alloc(c->n_inputs, 1, err);
    bool ok = digested != NULL;

    x->left = ok ? gk_alloc(c->n_tensors, 1, err) : NULL;
    ok = x->left != NULL;
    if (ok) {
        memset(digested, 0, (size_t)c->n_inputs);
        memset(x->left, 0, (size_t)c->n_tensors);
    }
    const bool any = ok && mark_inputs(x, digested);
    for (uint64_t i = 0; ok && x->p->values != NULL && i < c->n_tensors; i++) {
        if (any && c->tensor[i].n_parts > 0 && gk_values_by_piece(x->p->values, i)
            && is_shown(&c->tensor[i], digested))
            ok = add_spans(x, i, err);
        else
            x->left[i] = c->tensor[i].n_parts > 0;
    }
    gk_free(digested);
    if (ok && x->n_spans > 0) {
        qsort(x->span, (size_t)x->n_spans, sizeof *x->span, by_place);
        leave_overlaps(x);
    }
    return ok;
}

/* ---- running -------------------------------------------------------------------------- */

static bool run_unit(pass *x, const unit *u, unsigned char *buf, gk_err *err)
{
    if (u->n_rows == 0)
        return values_unit(x, u->tensor, buf, err);
    gk_sum *first = &x->p->sums->row[x->order[u->row]];
    return first->of == GK_SUM_FILE ? file_unit(x, u, buf, err) : row_unit(x, first, buf, err);
}

static bool run_units(pass *x, gk_err *err)
{
    x->next = 0;
#pragma omp parallel num_threads(x->p->threads)
    {
        gk_err own = {0};
        unsigned char *buf = gk_alloc(BUF_BYTES, 1, &own);
        bool ok = buf != NULL;
        uint64_t i;
        while (ok && __atomic_load_n(&x->failed, __ATOMIC_RELAXED) == NULL
               && (i = __atomic_fetch_add(&x->next, 1, __ATOMIC_RELAXED)) < x->n_units)
            ok = run_unit(x, &x->unit[i], buf, &own);
        if (!ok) {
#pragma omp critical(gk_pass_failure)
            {
                if (x->failed == NULL)
                    x->failure = own;
                __atomic_store_n(&x->failed, &x->failure, __ATOMIC_RELAXED);
            }
        }
        gk_free(buf);
    }
    if (x->failed != NULL)
        *err = x->failure;
    return x->failed == NULL;
}

/* The tensors that no file showed; of encoded ones files showed what is stored, not the values. */
static void plan_rest(pass *x)
{
    x->n_units = 0;
    for (uint64_t i = 0; x->p->values != NULL && i < x->p->c->n_tensors; i++) {
        if (!x->left[i] && !gk_values_wants_decoded(x->p->values, i))
            continue;
        if (x->left[i])
            gk_values_forget(x->p->values, i);
        x->unit[x->n_units++] = (unit){.tensor = i};
    }
}

uint64_t gk_sweep_bytes(const gk_sweep *p)
{
    uint64_t bytes = 0;

    for (uint64_t i = 0; p->sums != NULL && i < p->sums->n; i++)
        if (i == 0 || !same_file(&p->sums->row[i - 1], &p->sums->row[i]))
            bytes += bytes_of(p->c, &p->sums->row[i]);
    for (uint64_t i = 0; bytes == 0 && p->values != NULL && i < p->c->n_tensors; i++)
        bytes += gk_tensor_bytes(&p->c->tensor[i]);
    return bytes;
}

bool gk_sweep_run(const gk_sweep *p, gk_err *err)
{
    pass x = {.p = p};
    bool ok = plan_rows(&x, err) && plan_values(&x, err) && run_units(&x, err);

    if (ok) {
        plan_rest(&x);
        ok = run_units(&x, err);
    }
    gk_free(x.span);
    gk_free(x.left);
    gk_free(x.order);
    gk_free(x.unit);
    return ok;
}
