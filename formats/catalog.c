/* formats/catalog.c - adding, finding and reading tensors. Parses nothing. */
#include "formats/catalog.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "formats/archive.h"
#include "formats/checked.h"
#include "formats/mistaken.h"

#define ROWS_A_CALL 512 /* iovecs of one preadv, below IOV_MAX */

bool gk_stored_add(gk_catalog *c, const gk_stored *s, gk_err *err)
{
    void *rows = c->stored;
    uint64_t cap = c->n_stored;

    if (c->n_stored >= GK_MAX_TENSORS)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "more than %u tensors", GK_MAX_TENSORS);
    /* the capacity is the next power of two: no counter to keep in step */
    if ((cap & (cap - 1)) == 0 && (cap >= 256 || cap == 0)) {
        uint64_t room = cap == 0 ? 0 : cap;
        if (!gk_grow(&rows, &room, cap == 0 ? 256 : cap * 2, sizeof *s, err))
            return false;
        c->stored = rows;
    }
    c->stored[c->n_stored++] = *s;
    return true;
}

uint64_t gk_name_hash(const char *s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

    for (; *s != '\0'; s++)
        h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

int gk_stored_by_offset(const void *a, const void *b, void *stored)
{
    const gk_stored *x = (const gk_stored *)stored + *(const uint32_t *)a;
    const gk_stored *y = (const gk_stored *)stored + *(const uint32_t *)b;

    if (x->off != y->off)
        return x->off < y->off ? -1 : 1;
    return gk_stored_bytes(x) < gk_stored_bytes(y) ? -1 : gk_stored_bytes(x) > gk_stored_bytes(y);
}

bool gk_input_load(gk_catalog *c, const gk_source *s, const char *name, int rank,
                   bool (*read)(gk_catalog *c, uint64_t input, gk_err *err), gk_err *err)
{
    gk_err own = {0};
    char *copy = gk_arena_str(c->arena, name, err);

    if (copy == NULL)
        return false;
    gk_file *file = gk_source_file(c->arena, s, name, &own);
    if (file != NULL) {
        const uint64_t i = c->n_inputs++;
        c->input[i] = (gk_input){.file = file, .name = copy, .rank = rank};
        if (read(c, i, &own)) {
            c->input[i].usable = true;
            return true;
        }
        gk_mistaken_say(file, c->format, &own);
    }
    gk_fail_at(&own, name, NULL);
    return gk_findings_take(&c->findings, "file", &own, err);
}

void gk_catalog_close(gk_catalog *c)
{
    if (c == NULL)
        return;
    for (uint64_t i = 0; i < c->n_inputs; i++)
        gk_file_close(c->input[i].file);
    gk_archive_close(c->archive);
    gk_json_free(c->config);
    gk_free(c->config_text);
    gk_free(c->stored);
    gk_findings_free(&c->findings);
    gk_arena_free(c->arena);
    gk_free(c);
}

const gk_extra *gk_extra_find(const gk_catalog *c, const char *name)
{
    for (uint64_t i = 0; i < c->n_extras; i++)
        if (strcmp(c->extra[i].name, name) == 0)
            return &c->extra[i];
    return NULL;
}

gk_file *gk_extra_open(gk_arena *a, const gk_extra *extra, gk_err *err)
{
    return extra->file != NULL ? gk_file_member(a, extra->file, extra->name, 0, extra->bytes, err)
                               : gk_file_open(a, extra->path, err);
}

/* ---- names --------------------------------------------------------------- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Compares the numbers that *a and *b begin with and moves past equal ones. */
static int compare_numbers(const char **a, const char **b)
{
    const char *x = *a, *y = *b;
    size_t nx = 0, ny = 0;

    while (*x == '0')
        x++;
    while (*y == '0')
        y++;
    while (is_digit(x[nx]))
        nx++;
    while (is_digit(y[ny]))
        ny++;
    if (nx != ny)
        return nx < ny ? -1 : 1;
    const int order = memcmp(x, y, nx);
    if (order != 0)
        return order;
    /* equal values: fewer leading zeros first, so that the order is total */
    if (x - *a != y - *b)
        return x - *a < y - *b ? -1 : 1;
    *a = x + nx;
    *b = y + ny;
    return 0;
}

int gk_natural_compare(const char *a, const char *b)
{
    size_t same = 0;

    /* most of two names is the same: skip it, but for a number that goes on */
    while (a[same] == b[same] && a[same] != '\0')
        same++;
    while (same > 0 && is_digit(a[same - 1]))
        same--;
    a += same;
    b += same;
    while (*a != '\0' && *b != '\0') {
        if (is_digit(*a) && is_digit(*b)) {
            const int order = compare_numbers(&a, &b);
            if (order != 0)
                return order;
        } else if (*a != *b) {
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        } else {
            a++;
            b++;
        }
    }
    return (unsigned char)*a - (unsigned char)*b;
}

static int by_natural_name(const void *a, const void *b)
{
    return gk_natural_compare(((const gk_tensor *)a)->name, ((const gk_tensor *)b)->name);
}

static bool keep_first(gk_catalog *c, gk_tensor *tensor, uint64_t *n, gk_err *err)
{
    uint64_t kept = 0;

    for (uint64_t i = 0; i < *n; i++) {
        if (kept > 0 && strcmp(tensor[kept - 1].name, tensor[i].name) == 0) {
            const char *first = c->input[tensor[kept - 1].whole->input].name;
            const char *second = c->input[tensor[i].whole->input].name;
            if (!gk_findings_addf(&c->findings, "duplicate", GK_BAD, second, tensor[i].name, err,
                                  "duplicate: the tensor stands in two files, here and in %s",
                                  first))
                return false;
            continue;
        }
        tensor[kept++] = tensor[i];
    }
    *n = kept;
    return true;
}

static int by_name_then_file(const void *a, const void *b)
{
    const gk_stored *x = a, *y = b;
    const int order = gk_natural_compare(x->name, y->name);

    return order != 0 ? order : (x->input > y->input) - (x->input < y->input);
}

/* Entries are sorted before there are tensors: sorting asks for as much memory again as it
 * sorts. Nothing points at an entry yet. */
bool gk_tensors_from_all(gk_catalog *c, gk_err *err)
{
    uint64_t n = c->n_stored;

    if (n > 0)
        qsort(c->stored, (size_t)n, sizeof *c->stored, by_name_then_file);
    gk_tensor *tensor = gk_arena_alloc(c->arena, n, sizeof *tensor, err);
    if (tensor == NULL)
        return false;
    for (uint64_t i = 0; i < n; i++)
        gk_tensor_from_stored(&tensor[i], &c->stored[i]);
    return keep_first(c, tensor, &n, err) && gk_catalog_set(c, tensor, n, err);
}

bool gk_catalog_set(gk_catalog *c, gk_tensor *tensor, uint64_t n, gk_err *err)
{
    for (uint64_t i = 1; i < n; i++)
        if (by_natural_name(&tensor[i - 1], &tensor[i]) > 0) {
            qsort(tensor, (size_t)n, sizeof *tensor, by_natural_name);
            break;
        }
    for (uint64_t i = 1; i < n; i++)
        if (strcmp(tensor[i - 1].name, tensor[i].name) == 0) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "duplicate: the name stands twice");
            return gk_fail_at(err, NULL, tensor[i].name);
        }
    c->tensor = tensor;
    c->n_tensors = n;
    return true;
}

const gk_tensor *gk_catalog_find(const gk_catalog *c, const char *name)
{
    const gk_tensor key = {.name = name};

    if (c->n_tensors == 0)
        return NULL;
    return bsearch(&key, c->tensor, (size_t)c->n_tensors, sizeof key, by_natural_name);
}

/* ---- shape and parts ----------------------------------------------------- */

static void fold(const uint64_t *dim, int ndim, uint64_t *n_rows, uint64_t *n_cols)
{
    *n_rows = 1;
    *n_cols = ndim > 0 ? dim[ndim - 1] : 1;
    /* the product was checked with the entry, unless a dimension is 0 */
    for (int i = 0; i < ndim; i++)
        if (dim[i] == 0)
            *n_rows = 0;
    for (int i = 0; i + 1 < ndim && *n_rows > 0; i++)
        *n_rows *= dim[i];
}

void gk_tensor_from_stored(gk_tensor *t, const gk_stored *s)
{
    *t = (gk_tensor){.name = s->name,
                     .dim = s->dim,
                     .whole = s,
                     .n_parts = 1,
                     .ndim = s->ndim,
                     .dtype = s->dtype};
}

int gk_n_parts(const gk_tensor *t)
{
    return t->n_parts;
}

uint64_t gk_row_bytes(gk_dtype dtype, uint64_t n_cols)
{
    const gk_dtype_row *type = gk_dtype_get(dtype);

    return n_cols / type->block_elems * type->block_bytes;
}

uint64_t gk_rows(const gk_tensor *t)
{
    uint64_t n_rows, n_cols;

    fold(t->dim, t->ndim, &n_rows, &n_cols);
    return n_rows;
}

uint64_t gk_cols(const gk_tensor *t)
{
    return t->ndim > 0 ? t->dim[t->ndim - 1] : 1;
}

uint64_t gk_stored_bytes(const gk_stored *s)
{
    uint64_t elems = 1;

    for (int i = 0; i < s->ndim; i++)
        if (s->dim[i] == 0)
            return 0;
    const gk_dtype_row *type = gk_dtype_get((gk_dtype)s->dtype);
    for (int i = 0; i < s->ndim; i++)
        elems *= s->dim[i];
    return type->bits > 0 ? elems * type->bits / 8 : elems / type->block_elems * type->block_bytes;
}

uint64_t gk_tensor_bytes(const gk_tensor *t)
{
    uint64_t bytes = 0;

    if (t->whole != NULL)
        return gk_stored_bytes(t->whole);
    for (int i = 0; i < t->n_parts; i++)
        bytes += t->part[i].n_rows * gk_row_bytes(t->part[i].dtype, t->part[i].n_cols);
    return bytes;
}

const gk_part *gk_part_of(const gk_tensor *t, int i, gk_part_room *room)
{
    if (t->whole == NULL)
        return &t->part[i];
    const gk_stored *s = t->whole;
    uint64_t n_rows, n_cols;
    fold(s->dim, s->ndim, &n_rows, &n_cols);
    room->piece = (gk_piece){.stored = s,
                             .n_rows = n_rows,
                             .n_cols = n_cols,
                             .off = s->off,
                             .row_bytes = gk_row_bytes((gk_dtype)s->dtype, n_cols)};
    room->part = (gk_part){.role = GK_PART_VALUES,
                           .dtype = (gk_dtype)s->dtype,
                           .n_rows = n_rows,
                           .n_cols = n_cols,
                           .piece = &room->piece,
                           .n_pieces = 1};
    return &room->part;
}

/* ---- reading ------------------------------------------------------------- */

/* n rows of row_bytes each: in the file stride apart, in memory buf_stride. Rows
 * that touch in the file are fetched together, wherever they go in memory. */
static bool read_rows(const gk_file *f, uint64_t off, uint64_t stride, uint64_t row_bytes,
                      uint64_t n, unsigned char *buf, uint64_t buf_stride, gk_err *err)
{
    if (row_bytes == 0 || n == 0)
        return true;
    if (stride == row_bytes && buf_stride == row_bytes)
        return gk_file_read(f, off, buf, n * row_bytes, err);
    while (n > 0) {
        struct iovec iov[ROWS_A_CALL];
        const uint64_t step = stride == row_bytes ? gk_min(n, ROWS_A_CALL) : 1;
        for (uint64_t i = 0; i < step; i++)
            iov[i] = (struct iovec){buf + i * buf_stride, (size_t)row_bytes};
        const ssize_t got = step > 1 && f->fd >= 0 && f->text == NULL
                                ? preadv(f->fd, iov, (int)step, (off_t)(f->base + off))
                                : 0;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return gk_fail_errno(err, f->name, off, "read");
        /* a short count ends inside some row: finish row by row */
        if ((uint64_t)got < step * row_bytes)
            for (uint64_t i = 0; i < step; i++)
                if (!gk_file_read(f, off + i * stride, buf + i * buf_stride, row_bytes, err))
                    return false;
        off += step * stride;
        buf += step * buf_stride;
        n -= step;
    }
    return true;
}

/* ---- transposed pieces ---- */

#define STRIP_BYTES 65536 /* of stored columns that are turned at once */

/* Copies elements of size bytes, from_step apart, to places to_step apart. */
static void scatter(const unsigned char *from, uint64_t from_step, unsigned char *to,
                    uint64_t to_step, uint64_t size, uint64_t n)
{
    if (size == 2) {
        for (uint64_t i = 0; i < n; i++)
            memcpy(to + i * to_step, from + i * from_step, 2);
    } else if (size == 1) {
        for (uint64_t i = 0; i < n; i++)
            to[i * to_step] = from[i * from_step];
    } else {
        for (uint64_t i = 0; i < n; i++)
            memcpy(to + i * to_step, from + i * from_step, (size_t)size);
    }
}

/* A rectangle [n_rows, n_cols] whose elements lie row_bytes and col_bytes apart from off
 * on. Stored columns are fetched in strips, each byte once, and turned strip by strip. */
static bool read_strided(const gk_file *f, const gk_piece *p, uint64_t off, uint64_t n_rows,
                         uint64_t n_cols, uint64_t size, unsigned char *buf, uint64_t buf_stride,
                         gk_err *err)
{
    unsigned char strip[STRIP_BYTES];
    const bool repeats = p->row_bytes == 0;
    const uint64_t many = repeats ? 1 : n_rows;
    /* a run: elements of one column that lie together */
    const uint64_t run = p->row_bytes == size ? gk_min(many, STRIP_BYTES / size) : 1;

    for (uint64_t r = 0; r < many; r += run) {
        const uint64_t n = gk_min(run, many - r);
        const uint64_t wide = gk_max(STRIP_BYTES / (run * size), 1);
        for (uint64_t c = 0; c < n_cols; c += wide) {
            const uint64_t k = gk_min(wide, n_cols - c);
            const uint64_t at = off + r * p->row_bytes + c * p->col_bytes;
            if (p->col_bytes == n * size) { /* whole columns touch: one read */
                if (!gk_file_read(f, at, strip, k * n * size, err))
                    return false;
            } else {
                for (uint64_t i = 0; i < k; i++)
                    if (!gk_file_read(f, at + i * p->col_bytes, strip + i * n * size, n * size,
                                      err))
                        return false;
            }
            for (uint64_t i = 0; i < n; i++)
                scatter(strip + i * size, n * size, buf + (r + i) * buf_stride + c * size, size,
                        size, k);
        }
    }
    for (uint64_t r = 1; repeats && r < n_rows; r++)
        memcpy(buf + r * buf_stride, buf, (size_t)(n_cols * size));
    return true;
}

static bool read_piece(const gk_catalog *c, const gk_part *part, const gk_piece *p,
                       const uint64_t rect[4], unsigned char *buf, gk_err *err)
{
    const uint64_t row = gk_max(rect[0], p->row), row_end = gk_min(rect[1], p->row + p->n_rows);
    const uint64_t col = gk_max(rect[2], p->col), col_end = gk_min(rect[3], p->col + p->n_cols);

    if (row >= row_end || col >= col_end)
        return true;
    const gk_file *f = c->input[p->stored->input].file;
    const uint64_t buf_stride = gk_row_bytes(part->dtype, rect[3] - rect[2]);
    const uint64_t off = p->off + (row - p->row) * p->row_bytes;
    unsigned char *to
        = buf + (row - rect[0]) * buf_stride + gk_row_bytes(part->dtype, col - rect[2]);
    if (p->col_bytes != 0)
        return read_strided(f, p, off + (col - p->col) * p->col_bytes, row_end - row, col_end - col,
                            gk_row_bytes(part->dtype, 1), to, buf_stride, err);
    return read_rows(f, off + gk_row_bytes(part->dtype, col - p->col), p->row_bytes,
                     gk_row_bytes(part->dtype, col_end - col), row_end - row, to, buf_stride, err);
}

bool gk_read_part(const gk_catalog *c, const gk_tensor *t, int i, uint64_t row, uint64_t n_rows,
                  uint64_t col, uint64_t n_cols, void *buf, gk_err *err)
{
    gk_part_room room;
    const gk_part *part = gk_part_of(t, i, &room);
    const unsigned block = gk_dtype_get(part->dtype)->block_elems;

    if (row > part->n_rows || n_rows > part->n_rows - row || col > part->n_cols
        || n_cols > part->n_cols - col || col % block != 0 || n_cols % block != 0) {
        gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                "rows %" PRIu64 "+%" PRIu64 ", columns %" PRIu64 "+%" PRIu64
                " are not in [%" PRIu64 ", %" PRIu64 "]",
                row, n_rows, col, n_cols, part->n_rows, part->n_cols);
        return gk_fail_at(err, NULL, t->name);
    }
    const uint64_t rect[4] = {row, row + n_rows, col, col + n_cols};
    for (uint64_t k = 0; k < part->n_pieces; k++)
        if (!read_piece(c, part, &part->piece[k], rect, buf, err))
            return gk_fail_at(err, NULL, t->name);
    return true;
}
