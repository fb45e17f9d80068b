/* verify/accidents.c - what two models are to each other. */
#include "verify/accidents.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/grok2.h"
#include "formats/text.h"
#include "quant/model.h"

#define ALIKE        0.9   /* correlation of samples from which on values are compared */
#define MOST_SAMPLES 16384 /* tensors of which samples are kept (4 KiB each) */
#define SHOWN_KINDS  4     /* of encodings in a verdict */

typedef struct sample {
    float v[GK_SAMPLE];
    uint64_t n;
} sample;

typedef struct judging {
    const gk_catalog *a, *b;
    const gk_comparison *c;
    const volatile sig_atomic_t *stop;
    gk_judgement *out;
    sample *of_a;        /* of row i of the comparison, made when they are wanted */
    uint64_t *suspect;   /* rows of the comparison */
    int64_t *matched;    /* the row whose tensor of a has its values, or -1 */
    uint64_t n;
    gk_err *err;
} judging;

/* ---- accidents ------------------------------------------------------------------------ */

/* Adds a tensor (NULL: none) to the accident of that kind and text. */
static bool add(judging *j, const char *kind, const char *tensor, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static bool add(judging *j, const char *kind, const char *tensor, const char *fmt, ...)
{
    gk_judgement *out = j->out;
    char text[512];
    va_list args;
    uint64_t i = 0;
    void *grown;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    while (i < out->n
           && (strcmp(out->row[i].text, text) != 0 || strcmp(out->row[i].kind, kind) != 0))
        i++;
    if (i == out->n) {
        grown = out->row;
        if (!gk_grow(&grown, &out->cap, out->n + 1, sizeof *out->row, j->err))
            return false;
        out->row = grown;
        const char *copy = gk_arena_str(j->c->arena, text, j->err);
        if (copy == NULL)
            return false;
        out->row[out->n++] = (gk_accident){.kind = kind, .text = copy};
    }
    gk_accident *at = &out->row[i];
    grown = at->tensor;
    if (!gk_grow(&grown, &at->cap, at->n + 1, sizeof *at->tensor, j->err))
        return false;
    at->tensor = grown;
    at->tensor[at->n++] = tensor;
    return true;
}

void gk_judgement_free(gk_judgement *j)
{
    for (uint64_t i = 0; i < j->n; i++)
        gk_free(j->row[i].tensor);
    gk_free(j->row);
    *j = (gk_judgement){.verdict = NULL};
}

static bool is_coded(const gk_tensor *t)
{
    return t->scheme != NULL || gk_dtype_is_block((gk_dtype)t->dtype);
}

static gk_place_pair pair_of(const judging *j, const gk_tensor *a, const gk_tensor *b)
{
    return (gk_place_pair){j->a, j->b, a, b, is_coded(a) || is_coded(b), j->stop};
}

/* Whether rows are lost, or all is, as no codec loses them. */
static bool is_suspect(const gk_tensor_error *r)
{
    if (!r->comparable || r->equal)
        return false;
    if (!r->coded)
        return !(r->rel_error <= GK_PLAIN_ERROR);
    /* small rows may vanish beside large ones */
    return !(r->rel_error <= GK_CODED_ERROR)
           || (r->lost_rows > 0
               && r->lost / (double)r->lost_rows > r->square / (double)gk_rows(r->a) / 4);
}

/* ---- one tensor by itself ------------------------------------------------------------- */

/* The byte of b's file (*file) at which the first element stands that differs; GK_NO_OFF: it
 * is no element by itself. */
static uint64_t byte_of(const judging *j, const gk_tensor_error *r, const char **file)
{
    const gk_tensor *t = r->b;
    gk_part_room room;

    if (t->scheme != NULL || gk_dtype_is_block((gk_dtype)t->dtype) || t->n_parts == 0)
        return GK_NO_OFF;
    const gk_part *part = gk_part_of(t, 0, &room);
    for (uint64_t k = 0; k < part->n_pieces; k++) {
        const gk_piece *p = &part->piece[k];
        const uint64_t row = r->first_row - p->row, col = r->first_at - p->col;
        const uint64_t step = p->col_bytes > 0 ? p->col_bytes
                                               : gk_dtype_get(part->dtype)->block_bytes;
        *file = j->b->input[p->stored->input].name;
        if (r->first_row >= p->row && row < p->n_rows && r->first_at >= p->col && col < p->n_cols
            && p->off < GK_FILE_TEXT)
            return p->off + row * p->row_bytes + col * step;
    }
    return GK_NO_OFF;
}

static void swap_bytes(unsigned char *p, uint64_t n, unsigned size)
{
    for (uint64_t i = 0; i + size <= n; i += size)
        for (unsigned k = 0; k < size / 2; k++) {
            const unsigned char c = p[i + k];
            p[i + k] = p[i + size - 1 - k];
            p[i + size - 1 - k] = c;
        }
}

/* Whether b's bytes are a's with each number turned round. */
static bool look_at_order(judging *j, const gk_tensor_error *r, bool *turned)
{
    const gk_dtype dtype = (gk_dtype)r->a->dtype;
    const uint64_t bytes = gk_row_bytes(dtype, gk_cols(r->a));

    *turned = r->a->dtype == r->b->dtype && !r->coded;
    if (!*turned)
        return true;
    unsigned char *buf = gk_alloc(2 * bytes, 1, j->err);
    bool ok = buf != NULL;
    for (uint64_t row = 0; ok && *turned && row < gk_rows(r->a); row++) {
        ok = gk_read_part(j->a, r->a, 0, row, 1, 0, gk_cols(r->a), buf, j->err)
             && gk_read_part(j->b, r->b, 0, row, 1, 0, gk_cols(r->a), buf + bytes, j->err);
        swap_bytes(buf, bytes, gk_dtype_get(dtype)->block_bytes);
        *turned = ok && memcmp(buf, buf + bytes, (size_t)bytes) == 0;
    }
    gk_free(buf);
    return ok;
}

/* What can be told from the figures of the comparison. *told: it was. */
static bool judge_figures(judging *j, const gk_tensor_error *r, bool *told)
{
    const char *name = r->b->name;
    const bool coded = r->coded;

    *told = true;
    if (r->overflow > 0)
        return add(j, "f16-overflow", name,
                   "numbers past 65504, the largest of f16, became infinities");
    if (fabs(r->cosine) > (coded ? 0.9 : 0.9999) && r->gain < 0)
        return add(j, "sign-flipped", name, "signs are flipped");
    if (r->cosine > (coded ? 0.9 : 0.9999) && fabs(r->gain - 1) > (coded ? 0.3 : 0.01))
        return add(j, "scaled", name, "values are %.6g times as large", r->gain);
    if (!look_at_order(j, r, told))
        return false;
    return !*told || add(j, "byte-order", name, "numbers have the byte order of other machines");
}

static bool judge_rows(judging *j, const gk_tensor_error *r)
{
    const bool coded = r->coded;
    const char *file = NULL;
    const uint64_t rows = gk_rows(r->a), cols = gk_cols(r->a), off = byte_of(j, r, &file);
    const uint64_t n = coded ? r->lost_rows : r->differ_rows;
    const uint64_t first = coded ? r->first_lost : r->first_row;
    const uint64_t last = coded ? r->last_lost : r->last_row;
    const bool zero = r->not_zero == 0 && !coded;
    char from[320] = "", what[128];

    if (off != GK_NO_OFF)
        snprintf(from, sizeof from, ", from byte %" PRIu64 " of %s on", off, file);
    if (n < rows && n > 0)
        snprintf(what, sizeof what, "%s %" PRIu64 " to %" PRIu64, "rows", first, last);
    else if (!coded && rows > 0 && r->last_col - r->first_col + 1 < cols)
        snprintf(what, sizeof what, "%s %" PRIu64 " to %" PRIu64, "columns", r->first_col,
                 r->last_col);
    else
        return add(j, zero ? "zero" : "other-values", r->b->name,
                   zero ? "all values are zero"
                        : "values differ by more than a rounding or a codec explains");
    return add(j, zero ? "zero" : "stale", r->b->name,
               zero ? "%s have zeros, the rest is as it should be%s"
                    : "%s differ, the rest does not%s", what, from);
}

/* ---- the values of another tensor -------------------------------------------------------- */

static bool same_shape(const gk_tensor *a, const gk_tensor *b)
{
    return a->ndim == b->ndim && memcmp(a->dim, b->dim, a->ndim * sizeof *a->dim) == 0;
}

/* Finds the tensor of a that b's tensor in row i has the values of. */
static bool match(judging *j, uint64_t i, int64_t *matched)
{
    const gk_tensor_error *r = &j->c->row[i];
    sample own;
    double most = ALIKE;

    *matched = -1;
    if (j->of_a == NULL)
        return true;
    if (!gk_place_sample(j->b, r->b, own.v, &own.n, j->err))
        return false;
    for (uint64_t k = 0; k < j->c->n; k++) {
        const gk_tensor *other = j->c->row[k].a;
        sample *s = &j->of_a[k];
        if (other == NULL || !gk_can_decode(other) || !same_shape(other, r->b))
            continue;
        if (s->n == 0 && !gk_place_sample(j->a, other, s->v, &s->n, j->err))
            return false;
        const double like = gk_place_alike(s->v, own.v, own.n);
        if (like > most) {
            most = like;
            *matched = (int64_t)k;
        }
    }
    if (*matched < 0 || (uint64_t)*matched == i) {
        *matched = -1;
        return true;
    }
    const gk_place_pair p = pair_of(j, j->c->row[*matched].a, r->b);
    const gk_place same = {.kind = GK_PLACE_SAME, .n = 1};
    bool holds;
    if (!gk_place_holds(&p, &same, &holds, j->err))
        return false;
    *matched = holds ? *matched : -1;
    return true;
}

/* Two names that differ in one number: what stands before it ("layers.", "experts."), both
 * numbers. False: they differ in more. */
static bool differ_in_number(const char *a, const char *b, const char *word, long *x, long *y)
{
    const char *at = strstr(a, word);
    char *end_a, *end_b;

    if (at == NULL || strncmp(a, b, (size_t)(at - a) + strlen(word)) != 0)
        return false;
    *x = strtol(at + strlen(word), &end_a, 10);
    *y = strtol(b + (at - a) + strlen(word), &end_b, 10);
    return strcmp(end_a, end_b) == 0 && *x != *y;
}

/* The row that is matched with row i in its turn, or -1. */
static bool are_exchanged(const judging *j, uint64_t i, int64_t k)
{
    for (uint64_t m = 0; m < j->n; m++)
        if (j->suspect[m] == (uint64_t)k)
            return j->matched[m] == (int64_t)i;
    return false;
}

static long layer_in(const char *name)
{
    const char *at = strstr(name, "layers.");

    return at == NULL ? -1 : strtol(at + strlen("layers."), NULL, 10);
}

/* The last part of a name that tells its kind: "w1", "pre_attn_norm". */
static const char *part_in(const char *name, char out[64])
{
    const size_t n = strlen(name) - (gk_ends_with(name, ".weight") ? 7 : 0);
    size_t at = n;

    while (at > 0 && name[at - 1] != '.')
        at--;
    snprintf(out, 64, "%.*s", (int)gk_min(n - at, 63), name + at);
    return out;
}

static bool name_match(judging *j, uint64_t i, int64_t k)
{
    const char *own = j->c->row[i].b->name, *other = j->c->row[k].a->name;
    const bool exchanged = are_exchanged(j, i, k);
    char part[2][64];
    long x, y;

    if (differ_in_number(own, other, "experts.", &x, &y)) {
        const long layer = layer_in(own);
        return exchanged ? add(j, "experts-exchanged", own,
                               "experts %ld and %ld of layer %ld are exchanged", x < y ? x : y,
                               x < y ? y : x, layer)
                         : add(j, "expert-of-another", own,
                               "expert %ld of layer %ld is expert %ld of A", x, layer, y);
    }
    if (differ_in_number(own, other, "layers.", &x, &y))
        return exchanged ? add(j, "layers-exchanged", own, "layers %ld and %ld are exchanged",
                               x < y ? x : y, x < y ? y : x)
                         : add(j, "layers-shifted", own,
                               "layers are shifted: layer N is layer N%+ld of A", y - x);
    if (exchanged) {
        part_in(own, part[0]);
        part_in(other, part[1]);
        const bool order = strcmp(part[0], part[1]) < 0;
        return add(j, strstr(own, "norm") != NULL ? "norms-exchanged" : "matrices-exchanged", own,
                   "%s and %s are exchanged", part[!order], part[order]);
    }
    return add(j, "values-of-another", own, "the values are those of %s in A", other);
}

/* ---- other places ---------------------------------------------------------------------- */

/* Heads of q or k by its name; 0: rope turns nothing there. */
static uint64_t heads_of(const gk_catalog *c, const char *name)
{
    gk_grok2 sizes;
    gk_err ignored = {0};
    const bool q = strstr(name, "q_proj.") != NULL, k = strstr(name, "k_proj.") != NULL;

    if ((!q && !k) || c->config == NULL || !gk_grok2_sizes(c->config, &sizes, &ignored))
        return 0;
    return q ? sizes.heads : sizes.kv_heads;
}

static bool name_place(judging *j, const gk_tensor_error *r, const gk_place *at)
{
    const char *name = r->b->name;
    gk_text order = {0};
    bool ok;

    switch (at->kind) {
    case GK_PLACE_TRANSPOSED: return add(j, "transposed", name, "the matrix is transposed");
    case GK_PLACE_ROPE:
        return add(j, "rope-permuted", name,
                   "rows have the order of llama.cpp's rope, in A they have not");
    case GK_PLACE_UNROPE:
        return add(j, "rope-unpermuted", name,
                   "rows have not the order of llama.cpp's rope, in A they have");
    case GK_PLACE_JOINED_ROWS:
        return add(j, "wrong-axis", name,
                   "slices of %" PRIu64 " ranks, cut by columns, were joined as rows", at->n);
    case GK_PLACE_JOINED_COLS:
        return add(j, "wrong-axis", name,
                   "slices of %" PRIu64 " ranks, cut by rows, were joined as columns", at->n);
    default: break;
    }
    for (uint64_t i = 0; i < at->n; i++)
        gk_text_printf(&order, "%s%u", i > 0 ? " " : "", (unsigned)at->from[i]);
    ok = gk_text_ok(&order, j->err)
         && add(j, "ranks-swapped", name, "slices of %" PRIu64 " ranks (%s) stand in the order %s",
                at->n, at->kind == GK_PLACE_ROW_BLOCKS ? "rows" : "columns", order.data);
    gk_text_free(&order);
    return ok;
}

static bool judge_place(judging *j, const gk_tensor_error *r, bool *told)
{
    const gk_place_pair p = pair_of(j, r->a, r->b);
    const uint64_t heads = gk_max(heads_of(j->a, r->a->name), heads_of(j->b, r->b->name));
    gk_place at;

    *told = false;
    return gk_rows(r->a) * gk_cols(r->a) < 64
           || (gk_place_find(&p, heads, &at, told, j->err) && (!*told || name_place(j, r, &at)));
}

/* ---- all of them ----------------------------------------------------------------------- */

/* Whether b cuts numbers to bf16 where a rounding would have come out otherwise. */
static bool is_truncated(const gk_tensor_error *r)
{
    return r->comparable && !r->equal && r->a->scheme == NULL && r->b->scheme == NULL
           && r->b->dtype == GK_BF16 && r->a->dtype == GK_F32 && r->not_truncated == 0
           && r->not_rounded > 0;
}

/* One element count in two shapes. */
static bool is_reshaped(const gk_tensor_error *r)
{
    return r->a != NULL && r->b != NULL && !r->comparable && !r->bytes && gk_can_decode(r->a)
           && gk_can_decode(r->b) && gk_rows(r->a) * gk_cols(r->a) == gk_rows(r->b) * gk_cols(r->b);
}

static bool judge_suspect(judging *j, uint64_t i)
{
    const gk_tensor_error *r = &j->c->row[j->suspect[i]];
    bool told = false;

    if (!judge_figures(j, r, &told) || told)
        return told || j->err->code == GK_OK;
    if (j->matched[i] >= 0)
        return name_match(j, j->suspect[i], j->matched[i]);
    if (!judge_place(j, r, &told) || told)
        return told || j->err->code == GK_OK;
    return judge_rows(j, r);
}

static bool find_accidents(judging *j)
{
    const gk_comparison *c = j->c;
    bool ok = true, told;

    for (uint64_t i = 0; ok && i < c->n; i++) {
        if (is_suspect(&c->row[i]))
            j->suspect[j->n++] = i;
        else if (is_truncated(&c->row[i]))
            ok = add(j, "bf16-truncated", c->row[i].b->name, "cut to bf16 instead of rounded");
        else if (is_reshaped(&c->row[i]))
            ok = judge_place(j, &c->row[i], &told);
    }
    if (ok && j->n > 0 && c->n <= MOST_SAMPLES) {
        j->of_a = gk_alloc(c->n, sizeof *j->of_a, j->err);
        ok = j->of_a != NULL;
        for (uint64_t i = 0; ok && i < c->n; i++)
            j->of_a[i].n = 0;
    }
    for (uint64_t i = 0; ok && i < j->n; i++) {
        if (j->stop != NULL && *j->stop)
            return gk_fail(j->err, GK_ERR_INTERRUPTED, GK_NO_OFF, "interrupted");
        ok = match(j, j->suspect[i], &j->matched[i]);
    }
    for (uint64_t i = 0; ok && i < j->n; i++)
        ok = judge_suspect(j, i);
    return ok;
}

/* ---- the verdict ------------------------------------------------------------------------- */

typedef struct kinds {
    const char *name[SHOWN_KINDS];
    uint64_t n[SHOWN_KINDS];
    int len;
    uint64_t others;
} kinds;

static void count_kind(kinds *k, const char *name)
{
    int i = 0;

    while (i < k->len && strcmp(k->name[i], name) != 0)
        i++;
    if (i == SHOWN_KINDS) {
        k->others++;
        return;
    }
    if (i == k->len) {
        k->name[i] = name;
        k->n[k->len++] = 0;
    }
    k->n[i]++;
}

/* Of b's matrices: which encodings, and how many stay what they were in a. */
static void quantized_as(const gk_comparison *c, gk_text *t)
{
    kinds k = {.len = 0};
    uint64_t kept = 0, matrices = 0;
    int main = 0;

    for (uint64_t i = 0; i < c->n; i++) {
        const gk_tensor_error *r = &c->row[i];
        if (r->a == NULL || r->b == NULL || r->a->ndim < 2)
            continue;
        matrices++;
        if (is_coded(r->b))
            count_kind(&k, gk_tensor_kind(r->b));
        else
            kept++;
    }
    for (int i = 1; i < k.len; i++)
        main = k.n[i] > k.n[main] ? i : main;
    if (k.len == 0) {
        gk_text_str(t, "B is A with quantized vectors");
        return;
    }
    gk_text_printf(t, "B is A quantized as %s", k.name[main]);
    if (k.n[main] == matrices) {
        gk_text_str(t, " everywhere");
        return;
    }
    gk_text_str(t, " everywhere except ");
    for (int i = 0; i < k.len; i++)
        if (i != main)
            gk_text_printf(t, "%" PRIu64 " %s as %s, ", k.n[i], k.n[i] == 1 ? "matrix" : "matrices",
                           k.name[i]);
    if (k.others > 0)
        gk_text_printf(t, "%" PRIu64 " in other encodings, ", k.others);
    if (kept > 0)
        gk_text_printf(t, "%" PRIu64 " kept as %s", kept, kept == 1 ? "it is" : "they are");
    else
        t->len -= 2;
}

static bool say(judging *j)
{
    const gk_comparison *c = j->c;
    uint64_t coded_a = 0, coded_b = 0, bits = 0, equal = 0, both = 0;
    gk_text t = {0};

    for (uint64_t i = 0; i < c->n; i++) {
        const gk_tensor_error *r = &c->row[i];
        if (r->a == NULL || r->b == NULL)
            continue;
        both++;
        coded_a += is_coded(r->a);
        coded_b += is_coded(r->b);
        equal += r->equal;
        bits += r->equal && r->same_bits;
    }
    const bool whole = c->only_a + c->only_b == 0;
    if (both == 0)
        gk_text_str(&t, "no tensor is in both");
    else if (j->out->n > 0)
        gk_text_printf(&t, "%s: %s%s", equal == both ? "equal" : "B is not what A is",
                       j->out->row[0].text, j->out->n > 1 ? ", and more" : "");
    else if (equal == both)
        gk_text_str(&t, bits == both ? "bit-equal" : "same values");
    else if (c->apart > 0)
        gk_text_str(&t, "shapes or types differ");
    else if (coded_b > 0 && coded_a == 0)
        quantized_as(c, &t);
    else if (coded_a > 0 && coded_b == 0)
        gk_text_str(&t, "A is B quantized, or B is A decoded and rounded");
    else if (coded_a > 0)
        gk_text_str(&t, "two quantizations of the same values");
    else
        gk_text_str(&t, "the same values, rounded");
    if (!whole && both > 0)
        gk_text_printf(&t, "; %" PRIu64 " tensor%s only in A, %" PRIu64 " only in B", c->only_a,
                       c->only_a == 1 ? "" : "s", c->only_b);
    const bool ok = gk_text_ok(&t, j->err);
    j->out->verdict = ok ? gk_arena_strn(c->arena, t.data, t.len, j->err) : NULL;
    gk_text_free(&t);
    return j->out->verdict != NULL;
}

bool gk_compare_judge(const gk_catalog *a, const gk_catalog *b, const gk_comparison *c,
                      const volatile sig_atomic_t *stop, gk_judgement *out, gk_err *err)
{
    judging j = {.a = a, .b = b, .c = c, .stop = stop, .out = out, .err = err};

    *out = (gk_judgement){.verdict = NULL};
    j.suspect = gk_alloc(c->n, sizeof *j.suspect, err);
    j.matched = j.suspect == NULL ? NULL : gk_alloc(c->n, sizeof *j.matched, err);
    const bool ok = j.matched != NULL && find_accidents(&j) && say(&j);
    gk_free(j.suspect);
    gk_free(j.matched);
    gk_free(j.of_a);
    return ok;
}
