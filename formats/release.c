/* formats/release.c - a release cut for tensor-parallel ranks, joined again.
 *
 * Files are named PREFIX-TP-common (whole tensors) or PREFIX-TP-003 (slices of
 * rank 3). The same tensor name stands once in every rank's file, so a name that
 * is present proves nothing: here each tensor's slices are shown to tile the
 * shape that config.json demands, every rank exactly once. Numbers in file names
 * other than the rank mean nothing. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/grok2.h"
#include "formats/official.h"
#include "formats/reader.h"

#define MAX_RANKS  1000 /* three digits */
#define SUFFIX     ".safetensors"
#define N_VOTES    16

typedef struct join {
    gk_catalog      *c;
    gk_grok2         sizes;
    bool             known;   /* sizes are valid */
    uint64_t         n_ranks;
    const gk_stored **order;  /* entries by name, then rank */
    gk_err          *err;
} join;

/* ---- file names ---------------------------------------------------------- */

static const char *tag_of(const char *name)
{
    const char *tag = NULL;

    for (const char *at = strstr(name, "-TP-"); at != NULL; at = strstr(at + 1, "-TP-"))
        tag = at + 4;
    return tag;
}

bool gk_release_rank(const char *name, int *rank)
{
    const char *tag = tag_of(name);

    if (tag == NULL)
        return false;
    *rank = -1;
    if (strcmp(tag, "common" SUFFIX) == 0)
        return true;
    for (int i = 0; i < 3; i++)
        if (!isdigit((unsigned char)tag[i]))
            return false;
    *rank = atoi(tag);
    return strcmp(tag + 3, SUFFIX) == 0;
}

static bool release_is(const gk_source *s)
{
    int rank;

    if (!s->is_dir || s->index != NULL)
        return false;
    for (uint64_t i = 0; i < s->n_names; i++)
        if (gk_release_rank(s->name[i], &rank))
            return true;
    return false;
}

static bool load_files(gk_catalog *c, const gk_source *s, gk_err *err)
{
    int rank;

    c->input = gk_arena_alloc(c->arena, s->n_names, sizeof *c->input, err);
    if (c->input == NULL)
        return false;
    for (uint64_t i = 0; i < s->n_names; i++) {
        const size_t len = strlen(s->name[i]), tail = sizeof SUFFIX - 1;
        if (!gk_ends_with(s->name[i], SUFFIX)) {
            if (len > tail && gk_same_word(s->name[i] + len - tail, SUFFIX)
                && !gk_findings_addf(&c->findings, "files", GK_WARN, s->name[i], NULL, err,
                                     "its name ends in other letters than '" SUFFIX
                                     "', so it is not read"))
                return false;
            continue;
        }
        if (!gk_release_rank(s->name[i], &rank)) {
            if (!gk_findings_addf(&c->findings, "files", GK_WARN, s->name[i], NULL, err,
                                  "unrelated file: its name has no -TP- part, so it is not read"))
                return false;
            continue;
        }
        if (!gk_input_load(c, s, s->name[i], rank, gk_safetensors_read, err))
            return false;
    }
    return true;
}

/* ---- what must be -------------------------------------------------------- */

static int rank_of(const join *j, const gk_stored *s)
{
    return j->c->input[s->input].rank;
}

static const char *file_of(const join *j, const gk_stored *s)
{
    return j->c->input[s->input].name;
}

static int by_name_and_rank(const void *a, const void *b, void *catalog)
{
    const gk_stored *x = *(const gk_stored *const *)a, *y = *(const gk_stored *const *)b;
    const gk_input *input = ((const gk_catalog *)catalog)->input;
    int order = gk_natural_compare(x->name, y->name);

    if (order == 0)
        order = input[x->input].rank - input[y->input].rank;
    return order != 0 ? order : (x > y) - (x < y);
}

static bool sort_entries(join *j)
{
    const uint64_t n = j->c->n_stored;

    j->order = gk_alloc(n, sizeof *j->order, j->err);
    if (j->order == NULL)
        return false;
    for (uint64_t i = 0; i < n; i++)
        j->order[i] = &j->c->stored[i];
    qsort_r(j->order, (size_t)n, sizeof *j->order, by_name_and_rank, j->c);
    return true;
}

/* How many slices the shape of this one makes of its tensor; 0: it fits none. */
static uint64_t slices_by_shape(const join *j, const gk_stored *s)
{
    gk_grok2_shape shape;

    if (rank_of(j, s) < 0 || !gk_grok2_shape_of(&j->sizes, s->name, &shape) || shape.axis < 0
        || s->ndim != 2)
        return 0;
    const uint64_t full = shape.dim[shape.axis], cut = s->dim[shape.axis];
    if (s->dim[1 - shape.axis] != shape.dim[1 - shape.axis] || cut == 0 || full % cut != 0)
        return 0;
    return full / cut <= MAX_RANKS ? full / cut : 0;
}

/* The number of ranks is what most slices say by their shapes; the file names
 * count only when no slice fits. One damaged file then is the exception that is
 * reported, not the rule that everything else breaks. */
static uint64_t count_ranks(const join *j)
{
    struct {
        uint64_t ranks, votes;
    } vote[N_VOTES] = {{0, 0}};
    uint64_t highest = 0, best = 0, most = 0;

    for (uint64_t i = 0; i < j->c->n_inputs; i++)
        if (j->c->input[i].rank >= 0)
            highest = gk_max(highest, (uint64_t)j->c->input[i].rank + 1);
    for (uint64_t i = 0; j->known && i < j->c->n_stored; i++) {
        const uint64_t n = slices_by_shape(j, &j->c->stored[i]);
        for (int k = 0; n > 0 && k < N_VOTES; k++)
            if (vote[k].votes == 0 || vote[k].ranks == n) {
                vote[k].ranks = n;
                vote[k].votes++;
                break;
            }
    }
    for (int k = 0; k < N_VOTES; k++)
        if (vote[k].votes > most || (vote[k].votes == most && vote[k].ranks == highest)) {
            best = vote[k].ranks;
            most = vote[k].votes;
        }
    return most > 0 ? best : highest;
}

/* ---- joining one tensor -------------------------------------------------- */

static bool say(join *j, const gk_stored *s, const char *check, const char *text)
{
    return gk_findings_addf(&j->c->findings, check, GK_BAD, file_of(j, s), s->name, j->err, "%s",
                            text);
}

/* The slice that is not there; the file that should hold it is named after a
 * sister slice's file. */
static bool say_missing(join *j, const gk_stored *sister, uint64_t rank)
{
    char file[256], digits[8];
    const char *tag = tag_of(file_of(j, sister));
    const int prefix = (int)(tag - file_of(j, sister));

    snprintf(digits, sizeof digits, "%03" PRIu64, rank);
    snprintf(file, sizeof file, "%.*s%s" SUFFIX, prefix, file_of(j, sister), digits);
    return gk_findings_addf(&j->c->findings, "slices", GK_BAD, file, sister->name, j->err,
                            "missing: the slice of rank %" PRIu64 " of 0 to %" PRIu64
                            " is not there (the download is incomplete)",
                            rank, j->n_ranks - 1);
}

static bool check_slice_shape(join *j, const gk_stored *s, const gk_grok2_shape *shape, bool *fits)
{
    uint64_t want[2] = {shape->dim[0], shape->dim[1]};
    char found[200] = "";

    want[shape->axis] /= j->n_ranks;
    *fits = s->ndim == 2 && s->dim[0] == want[0] && s->dim[1] == want[1]
            && shape->dim[shape->axis] % j->n_ranks == 0;
    if (*fits)
        return true;
    for (int i = 0, n = 0; i < s->ndim && n < 160; i++)
        n += snprintf(found + n, sizeof found - (size_t)n, "%s%" PRIu64, i > 0 ? ", " : "",
                      s->dim[i]);
    return gk_findings_addf(&j->c->findings, "slices", GK_BAD, file_of(j, s), s->name, j->err,
                            "shape mismatch: this slice is [%s], expected [%" PRIu64 ", %" PRIu64
                            "]: [%" PRIu64 ", %" PRIu64 "] by config.json over %" PRIu64 " ranks",
                            found, want[0], want[1], shape->dim[0], shape->dim[1], j->n_ranks);
}

/* Walks the slices of one tensor in rank order. *whole: they tile it exactly. */
static bool check_slices(join *j, const gk_stored *const *s, uint64_t n,
                         const gk_grok2_shape *shape, bool *whole)
{
    uint64_t next = 0; /* the lowest rank not yet seen */
    bool fits;

    *whole = true;
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t rank = (uint64_t)rank_of(j, s[i]);
        if (rank >= j->n_ranks) {
            *whole = false;
            if (!say(j, s[i], "slices", "unexpected rank: by their shapes the slices of lower "
                                        "ranks are the whole tensor"))
                return false;
            continue;
        }
        if (rank < next) {
            *whole = false;
            if (!say(j, s[i], "duplicate", "duplicate: this rank's slice stands in two files"))
                return false;
            continue;
        }
        for (; next < rank; next++, *whole = false)
            if (!say_missing(j, s[i], next))
                return false;
        next = rank + 1;
        if (!check_slice_shape(j, s[i], shape, &fits))
            return false;
        *whole &= fits;
    }
    for (; next < j->n_ranks; next++, *whole = false)
        if (!say_missing(j, s[0], next))
            return false;
    return true;
}

/* Puts the slices side by side (axis 1) or on top of each other (axis 0). */
static bool join_slices(join *j, const gk_stored *const *s, const gk_grok2_shape *shape,
                        gk_tensor *t)
{
    gk_part *part = gk_arena_alloc(j->c->arena, 1, sizeof *part, j->err);
    gk_piece *piece = gk_arena_alloc(j->c->arena, j->n_ranks, sizeof *piece, j->err);

    if (part == NULL || piece == NULL)
        return false;
    for (uint64_t i = 0; i < j->n_ranks; i++) {
        if (s[i]->dtype != s[0]->dtype) {
            t->n_parts = 0;
            return say(j, s[i], "slices", "dtype mismatch: the slices before it have another");
        }
        piece[i] = (gk_piece){.stored = s[i],
                              .row = shape->axis == 0 ? i * s[i]->dim[0] : 0,
                              .col = shape->axis == 1 ? i * s[i]->dim[1] : 0,
                              .n_rows = s[i]->dim[0],
                              .n_cols = s[i]->dim[1],
                              .off = s[i]->off,
                              .row_bytes = gk_row_bytes((gk_dtype)s[i]->dtype, s[i]->dim[1])};
    }
    *part = (gk_part){.role = GK_PART_VALUES,
                      .dtype = (gk_dtype)s[0]->dtype,
                      .n_rows = gk_rows(t),
                      .n_cols = gk_cols(t),
                      .piece = piece,
                      .n_pieces = j->n_ranks};
    t->part = part;
    t->n_parts = 1;
    t->dtype = s[0]->dtype;
    return true;
}

/* A tensor that stays out of reach: the shape it should have, no part. */
static bool leave_incomplete(join *j, const gk_stored *s, const gk_grok2_shape *shape, gk_tensor *t)
{
    const int ndim = shape != NULL ? shape->ndim : s->ndim;
    uint64_t *dim = gk_arena_alloc(j->c->arena, (uint64_t)ndim, sizeof *dim, j->err);

    if (dim == NULL)
        return false;
    for (int i = 0; i < ndim; i++)
        dim[i] = shape != NULL ? shape->dim[i] : s->dim[i];
    *t = (gk_tensor){.name = s->name, .dim = dim, .ndim = (uint8_t)ndim, .dtype = s->dtype};
    return true;
}

static bool join_sliced(join *j, const gk_stored *const *s, uint64_t n,
                        const gk_grok2_shape *shape, gk_tensor *t)
{
    bool whole = false;

    if (!leave_incomplete(j, s[0], shape, t) || !check_slices(j, s, n, shape, &whole))
        return false;
    return !whole || join_slices(j, s, shape, t);
}

/* The n entries of one name, common ones first. */
static bool join_tensor(join *j, const gk_stored *const *s, uint64_t n, gk_tensor *t)
{
    gk_grok2_shape shape;
    const bool listed = j->known && gk_grok2_shape_of(&j->sizes, s[0]->name, &shape);
    uint64_t n_common = 0;

    while (n_common < n && rank_of(j, s[n_common]) < 0)
        n_common++;
    if (n_common == 0 && listed && shape.axis >= 0)
        return join_sliced(j, s, n, &shape, t);
    if (n == 1) {
        gk_tensor_from_stored(t, s[0]);
        return true;
    }
    if (!leave_incomplete(j, s[0], listed ? &shape : NULL, t))
        return false;
    if (n_common > 0)
        return gk_findings_addf(&j->c->findings, "duplicate", GK_BAD, file_of(j, s[1]), s[1]->name,
                                j->err, "duplicate: the tensor stands in two files, here and in %s",
                                file_of(j, s[0]));
    return say(j, s[0], "slices",
               listed ? "duplicate: a tensor that is never cut stands in several ranks' files"
               : j->known
                   ? "unknown tensor in several ranks' files: no part of Grok-2 has this name"
                   : "slices cannot be joined: config.json does not say which shape they make");
}

static bool join_all(join *j)
{
    const uint64_t n = j->c->n_stored;
    gk_tensor *tensor = gk_arena_alloc(j->c->arena, n, sizeof *tensor, j->err);
    uint64_t n_tensors = 0;

    if (tensor == NULL)
        return false;
    for (uint64_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && strcmp(j->order[next]->name, j->order[i]->name) == 0;)
            next++;
        if (!join_tensor(j, &j->order[i], next - i, &tensor[n_tensors++]))
            return false;
    }
    return gk_catalog_set(j->c, tensor, n_tensors, j->err);
}

static bool release_open(gk_catalog *c, const gk_source *s, gk_err *err)
{
    join j = {.c = c, .err = err};
    gk_err own = {0};

    if (!load_files(c, s, err) || !gk_index_examine(c, s, err) || !gk_official_adopt(c, err))
        return false;
    if (gk_grok2_is(c->config)) {
        j.known = gk_grok2_sizes(c->config, &j.sizes, &own);
        if (!j.known && !gk_findings_take(&c->findings, "config", &own, err))
            return false;
    } else if (c->config != NULL
               && !gk_findings_addf(&c->findings, "config", GK_BAD, "config.json", NULL, err,
                                    "expected the architecture Grok1ForCausalLM of Grok-2: "
                                    "the slices of another model cannot be joined")) {
        return false;
    }
    j.n_ranks = count_ranks(&j);
    const bool ok = sort_entries(&j) && join_all(&j);
    gk_free(j.order);
    return ok;
}

const gk_reader gk_reader_release = {"release", release_is, release_open};
