/* cmd/tree.c - grouping by name pattern, then a tree of the groups. */
#include "cmd/tree.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/table.h"
#include "quant/model.h"

#define MAX_NUMBERS 4  /* of one name that may fold; further ones stay as they are  */
#define MAX_RANGES  6  /* of one set that are shown                                 */
#define LOOK_BACK   32 /* siblings searched for one of the same label               */
#define NONE        UINT32_MAX

/* Tensors of one pattern, dtype and shape; they are linked through fold.next. */
typedef struct group {
    uint64_t hash;
    uint32_t first, last; /* tensors   */
    uint32_t n;
} group;

/* One line of the tree. */
typedef struct node {
    const char      *label;
    const gk_tensor *tensor; /* of a leaf: one of those alike */
    uint64_t         n, bytes;
    uint32_t         parent, child, last_child, next, previous;
} node;

typedef struct fold {
    const gk_catalog *c;
    gk_arena         *arena;
    group            *group;
    uint32_t         *next, *slot; /* by tensor; hash table of groups */
    node             *node;
    uint64_t          n_groups, n_slots, n_nodes, cap_groups, cap_nodes;
    uint64_t          bytes; /* of all tensors */
    gk_err           *err;
} fold;

/* ---- patterns ------------------------------------------------------------------ */

/* Reads the next component of a name. Returns its length; *number tells whether it
 * is a number that may fold. */
static size_t component(const char *s, bool *number)
{
    const size_t len = strcspn(s, ".");
    size_t digits = 0;

    while (digits < len && isdigit((unsigned char)s[digits]))
        digits++;
    /* "007" or 20 digits is a name, not a number */
    *number = len > 0 && digits == len && len <= 9 && (s[0] != '0' || len == 1);
    return len;
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;

    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash;
}

static uint64_t hash_of(const gk_tensor *t)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    int numbers = 0;
    const char *kind = gk_tensor_kind(t);

    for (const char *s = t->name;;) {
        bool number;
        const size_t len = component(s, &number);
        if (number && numbers++ < MAX_NUMBERS)
            hash = mix(hash, "*", 2);
        else
            hash = mix(hash, s, len);
        hash = mix(hash, ".", 1);
        if (s[len] == '\0')
            break;
        s += len + 1;
    }
    hash = mix(hash, kind, strlen(kind));
    return mix(hash, t->dim, t->ndim * sizeof *t->dim);
}

/* Compares what hash_of() hashes. */
static bool alike(const gk_tensor *a, const gk_tensor *b)
{
    const char *s = a->name, *r = b->name;
    int numbers = 0;

    if (a->ndim != b->ndim || strcmp(gk_tensor_kind(a), gk_tensor_kind(b)) != 0
        || (a->ndim > 0 && memcmp(a->dim, b->dim, a->ndim * sizeof *a->dim) != 0))
        return false;
    for (;;) {
        bool number_s, number_r;
        const size_t len_s = component(s, &number_s), len_r = component(r, &number_r);
        if (number_s && number_r && numbers < MAX_NUMBERS)
            numbers++;
        else if (len_s != len_r || memcmp(s, r, len_s) != 0)
            return false;
        if (s[len_s] != r[len_r])
            return false;
        if (s[len_s] == '\0')
            return true;
        s += len_s + 1;
        r += len_r + 1;
    }
}

/* Fills number[] with the foldable numbers of a name; returns how many. */
static int numbers_of(const char *s, uint32_t number[MAX_NUMBERS])
{
    int n = 0;

    for (;;) {
        bool is_number;
        const size_t len = component(s, &is_number);
        if (is_number && n < MAX_NUMBERS)
            number[n++] = (uint32_t)strtoul(s, NULL, 10);
        if (s[len] == '\0')
            return n;
        s += len + 1;
    }
}

/* ---- groups -------------------------------------------------------------------- */

static bool add_group(fold *f, uint64_t hash, uint32_t tensor, uint64_t slot)
{
    void *rows = f->group;

    if (!gk_grow(&rows, &f->cap_groups, f->n_groups + 1, sizeof *f->group, f->err))
        return false;
    f->group = rows;
    f->group[f->n_groups] = (group){.hash = hash, .first = tensor, .last = tensor, .n = 1};
    f->slot[slot] = (uint32_t)f->n_groups++;
    return true;
}

static bool make_groups(fold *f)
{
    const gk_catalog *c = f->c;

    for (f->n_slots = 64; f->n_slots < 2 * c->n_tensors;)
        f->n_slots *= 2;
    f->next = gk_arena_alloc(f->arena, c->n_tensors, sizeof *f->next, f->err);
    f->slot = gk_arena_alloc(f->arena, f->n_slots, sizeof *f->slot, f->err);
    if (f->next == NULL || f->slot == NULL)
        return false;
    memset(f->slot, 0xFF, f->n_slots * sizeof *f->slot);
    for (uint32_t i = 0; i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        const uint64_t hash = hash_of(t);
        uint64_t at = hash & (f->n_slots - 1);
        f->bytes += t->bytes;
        f->next[i] = NONE;
        while (f->slot[at] != NONE
               && (f->group[f->slot[at]].hash != hash
                   || !alike(&c->tensor[f->group[f->slot[at]].first], t)))
            at = (at + 1) & (f->n_slots - 1);
        if (f->slot[at] == NONE) {
            if (!add_group(f, hash, i, at))
                return false;
            continue;
        }
        group *g = &f->group[f->slot[at]];
        f->next[g->last] = i;
        g->last = i;
        g->n++;
    }
    return true;
}

/* ---- the tree ------------------------------------------------------------------ */

/* Returns the child of parent with that label, made when there is none; NONE: NOMEM. */
static uint32_t child_of(fold *f, uint32_t parent, const char *label, uint64_t len, bool leaf)
{
    void *rows = f->node;
    int looked = 0;

    for (uint32_t i = f->node[parent].last_child; !leaf && i != NONE && looked < LOOK_BACK;
         i = f->node[i].previous, looked++)
        if (f->node[i].tensor == NULL && strncmp(f->node[i].label, label, len) == 0
            && f->node[i].label[len] == '\0')
            return i;
    char *copy = gk_arena_strn(f->arena, label, len, f->err);
    if (copy == NULL
        || !gk_grow(&rows, &f->cap_nodes, f->n_nodes + 1, sizeof *f->node, f->err))
        return NONE;
    f->node = rows;
    const uint32_t id = (uint32_t)f->n_nodes++, last = f->node[parent].last_child;
    f->node[id] = (node){.label = copy, .parent = parent, .child = NONE, .last_child = NONE,
                         .next = NONE, .previous = last};
    if (last == NONE)
        f->node[parent].child = id;
    else
        f->node[last].next = id;
    f->node[parent].last_child = id;
    return id;
}

/* Adds n tensors like t under the path, whose components end in NUL bytes. */
static bool add_leaf(fold *f, const gk_text *path, const gk_tensor *t, uint64_t n, uint64_t bytes)
{
    uint32_t at = 0;

    for (uint64_t i = 0; i < path->len;) {
        const uint64_t len = strlen(path->data + i);
        const bool leaf = i + len + 1 == path->len;
        at = child_of(f, at, path->data + i, len, leaf);
        if (at == NONE)
            return false;
        i += len + 1;
    }
    f->node[at].tensor = t;
    for (;; at = f->node[at].parent) {
        f->node[at].n += n;
        f->node[at].bytes += bytes;
        if (at == 0)
            return true;
    }
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

/* Adds a sorted set: "7", "{0..63}", "{0,2,5..7}". */
static void add_set(gk_text *out, const uint32_t *set, uint64_t n)
{
    int ranges = 0;

    if (n == 1) {
        gk_text_printf(out, "%" PRIu32, set[0]);
        return;
    }
    gk_text_char(out, '{');
    for (uint64_t i = 0; i < n;) {
        uint64_t end = i + 1;
        while (end < n && set[end] == set[end - 1] + 1)
            end++;
        if (ranges++ > 0)
            gk_text_char(out, ',');
        if (ranges > MAX_RANGES) {
            gk_text_str(out, "…");
            break;
        }
        gk_text_printf(out, "%" PRIu32, set[i]);
        if (end - i > 1)
            gk_text_printf(out, "..%" PRIu32, set[end - 1]);
        i = end;
    }
    gk_text_char(out, '}');
}

/* The numbers of a group's tensors: sets[k] sorted and distinct, count[k] of them. */
typedef struct axes {
    uint32_t *set[MAX_NUMBERS];
    uint64_t  count[MAX_NUMBERS];
    int       n;
} axes;

static bool find_axes(fold *f, const uint32_t *member, uint64_t n, axes *a)
{
    uint32_t number[MAX_NUMBERS];

    a->n = numbers_of(f->c->tensor[member[0]].name, number);
    for (int k = 0; k < a->n; k++) {
        a->set[k] = gk_arena_alloc(f->arena, n, sizeof(uint32_t), f->err);
        if (a->set[k] == NULL)
            return false;
    }
    for (uint64_t i = 0; i < n; i++) {
        numbers_of(f->c->tensor[member[i]].name, number);
        for (int k = 0; k < a->n; k++)
            a->set[k][i] = number[k];
    }
    for (int k = 0; k < a->n; k++) {
        qsort(a->set[k], n, sizeof(uint32_t), compare_u32);
        uint64_t kept = 1;
        for (uint64_t i = 1; i < n; i++)
            if (a->set[k][i] != a->set[k][kept - 1])
                a->set[k][kept++] = a->set[k][i];
        a->count[k] = kept;
    }
    return true;
}

static bool add_members(fold *f, const uint32_t *member, uint64_t n, const axes *a)
{
    const gk_tensor *t = &f->c->tensor[member[0]];
    gk_text path = {0};
    uint64_t bytes = 0;
    int k = 0;

    for (uint64_t i = 0; i < n; i++)
        bytes += f->c->tensor[member[i]].bytes;
    for (const char *s = t->name;;) {
        bool number;
        const size_t len = component(s, &number);
        if (number && k < MAX_NUMBERS) {
            add_set(&path, a->set[k], a->count[k]);
            k++;
        } else {
            gk_text_add(&path, s, len);
        }
        gk_text_char(&path, '\0');
        if (s[len] == '\0')
            break;
        s += len + 1;
    }
    const bool ok = gk_text_ok(&path, f->err) && add_leaf(f, &path, t, n, bytes);
    gk_text_free(&path);
    return ok;
}

/* Adds the group as one leaf when it has all combinations, else cut at the first number
 * in which its tensors differ. Members are in natural order, so equal ones are neighbours. */
static bool add_alike(fold *f, const uint32_t *member, uint64_t n)
{
    axes a = {.n = 0};
    uint64_t product = 1;
    int cut = 0;

    if (!find_axes(f, member, n, &a))
        return false;
    for (int k = 0; k < a.n; k++)
        product *= a.count[k] <= n ? a.count[k] : n; /* at most n^4 and n < 2^32: may wrap, */
    if (product == n || n == 1)                      /* and then costs only a worse picture */
        return add_members(f, member, n, &a);
    while (cut < a.n - 1 && a.count[cut] == 1)
        cut++;
    for (uint64_t i = 0, end; i < n; i = end) {
        uint32_t first[MAX_NUMBERS], number[MAX_NUMBERS];
        numbers_of(f->c->tensor[member[i]].name, first);
        for (end = i + 1; end < n; end++) {
            numbers_of(f->c->tensor[member[end]].name, number);
            if (number[cut] != first[cut])
                break;
        }
        if (!add_alike(f, member + i, end - i))
            return false;
    }
    return true;
}

static bool make_tree(fold *f)
{
    void *rows = NULL;
    uint32_t *member = gk_arena_alloc(f->arena, f->c->n_tensors, sizeof *member, f->err);

    if (member == NULL || !gk_grow(&rows, &f->cap_nodes, 64, sizeof *f->node, f->err))
        return false;
    f->node = rows;
    f->node[0] = (node){.label = "", .parent = NONE, .child = NONE, .last_child = NONE,
                        .next = NONE, .previous = NONE};
    f->n_nodes = 1;
    for (uint64_t g = 0; g < f->n_groups; g++) {
        uint64_t n = 0;
        for (uint32_t i = f->group[g].first; i != NONE; i = f->next[i])
            member[n++] = i;
        if (!add_alike(f, member, n))
            return false;
    }
    return true;
}

/* ---- print --------------------------------------------------------------------- */

void gk_shape_print(gk_text *out, const gk_tensor *t)
{
    gk_text_char(out, '[');
    for (int i = 0; i < t->ndim; i++)
        gk_text_printf(out, "%s%" PRIu64, i > 0 ? ", " : "", t->dim[i]);
    gk_text_char(out, ']');
}

static void add_row(const fold *f, gk_table *table, const node *n, const char *label)
{
    gk_human buf;
    gk_text shape = {0};

    gk_table_cell(table, label);
    gk_table_cell(table, gk_human_exact(buf, n->n));
    if (n->tensor != NULL)
        gk_shape_print(&shape, n->tensor);
    gk_table_cell(table, shape.data == NULL ? "" : shape.data);
    gk_table_cell(table, n->tensor == NULL ? "" : gk_tensor_kind(n->tensor));
    gk_table_cell(table, gk_human_bytes(buf, n->bytes));
    gk_table_cell(table, gk_human_share(buf, n->bytes, f->bytes));
    gk_text_free(&shape);
}

/* Walks in order without recursion: a hostile name may have a thousand components. A
 * module with one child is written on the child's line. */
static void add_rows(const fold *f, gk_table *table)
{
    gk_text label = {0};
    uint32_t at = f->node[0].child;
    int depth = 0;

    while (at != NONE) {
        const node *n = &f->node[at];
        gk_text_clear(&label);
        gk_text_printf(&label, "%*s%s", 2 * (depth < 20 ? depth : 20), "", n->label);
        while (n->tensor == NULL && n->child == n->last_child) {
            n = &f->node[n->child];
            gk_text_printf(&label, ".%s", n->label);
        }
        add_row(f, table, n, label.data == NULL ? "" : label.data);
        at = (uint32_t)(n - f->node);
        if (n->child != NONE) {
            at = n->child;
            depth++;
            continue;
        }
        /* up past only children, which have no line of their own */
        while (at != 0 && f->node[at].next == NONE) {
            at = f->node[at].parent;
            if (f->node[at].child != f->node[at].last_child)
                depth--;
        }
        at = at == 0 ? NONE : f->node[at].next;
    }
    table->cells.failed |= label.failed;
    gk_text_free(&label);
}

bool gk_tree_print(const gk_catalog *c, gk_text *out, int width, bool bold, gk_err *err)
{
    static const gk_column columns[] = {
        {"module", false, true}, {"tensors", true, false}, {"shape", false, false},
        {"dtype", false, false}, {"bytes", true, false},   {"share", true, false}};
    fold f = {.c = c, .err = err, .arena = gk_arena_new(err)};
    gk_table table = {.column = columns, .n_columns = 6};
    const bool ok = f.arena != NULL && make_groups(&f) && make_tree(&f);

    if (ok) {
        add_rows(&f, &table);
        gk_table_print(&table, out, width, bold);
    }
    gk_table_free(&table);
    gk_free(f.group);
    gk_free(f.node);
    gk_arena_free(f.arena);
    return ok && gk_text_ok(out, err);
}
