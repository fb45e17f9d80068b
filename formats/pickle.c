/* formats/pickle.c - the machine: a stack, marks, a memo, and one row for each opcode.
 *
 *   80 P           PROTO     P is the protocol, 2 to 5; first of all
 *   95 N:u64       FRAME     the next N bytes are whole opcodes (protocol 4 on)
 *   ...                      opcodes, each with its argument
 *   2E             STOP      the one object on the stack is what the pickle holds
 *
 * Source: CPython Lib/pickletools.py. Lengths are bounded by the frame or the file before
 * anything is done with them, nodes by a constant; nothing recurses, and freeing the arena
 * frees all. */
#include "formats/pickle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"

#define WINDOW_BYTES 4096
#define MAX_TOLD     32 /* unknown globals that get a row of their own */

typedef enum arg_kind {
    ARG_NONE,
    ARG_U8,
    ARG_U16,
    ARG_U32,
    ARG_I32,
    ARG_U64,
    ARG_REAL,  /* f64, big-endian             */
    ARG_LONG1, /* u8 length, signed integer   */
    ARG_LINES, /* two lines of text           */
    ARG_TEXT,  /* .width bytes of length, UTF-8 */
    ARG_BYTES, /* .width bytes of length        */
} arg_kind;

typedef struct machine machine;

typedef struct op_row {
    const char *name;
    bool (*run)(machine *m);
    arg_kind arg;
    int width;
    int dialects;
    int count; /* of the objects it takes, or which of a family it is */
} op_row;

typedef struct memo_slot {
    const gk_pickled *node; /* NULL: free */
    uint64_t key;
} memo_slot;

struct machine {
    const gk_pickle_input *in;
    gk_arena *arena;
    uint64_t pos, op_off, frame_end;
    unsigned char op;
    const op_row *row;
    uint64_t number; /* argument: an integer, or a length */
    bool is_long;    /* an integer past 64 bits          */
    double real;
    const char *line[2];
    uint64_t data_off;
    const gk_pickled **stack;
    uint64_t n_stack, stack_cap;
    uint64_t *mark;
    uint64_t n_marks, marks_cap;
    memo_slot *memo;
    uint64_t n_memo, n_slots;
    uint64_t n_nodes, n_unknown;
    bool stopped;
    gk_err *err;
    uint64_t window_off, window_len;
    unsigned char window[WINDOW_BYTES];
};

#define REFUSE(m, ...) gk_fail((m)->err, GK_ERR_FORMAT, (m)->op_off, __VA_ARGS__)

/* ---- bytes ----------------------------------------------------------------------- */

/* Where the opcode at hand must end. */
static uint64_t limit_of(const machine *m)
{
    return m->op_off < m->frame_end ? m->frame_end : m->in->end;
}

/* n bytes from pos on, n at most half a window; they stay until the next call. */
static const unsigned char *peek(machine *m, uint64_t n)
{
    const uint64_t have = m->window_off + m->window_len;

    if (m->pos < m->window_off || m->pos + n > have) {
        m->window_off = m->pos;
        m->window_len = gk_min(WINDOW_BYTES, m->in->end - m->pos);
        if (!gk_file_read(m->in->file, m->pos, m->window, m->window_len, m->err))
            return NULL;
    }
    return m->window + (m->pos - m->window_off);
}

static const unsigned char *take(machine *m, uint64_t n)
{
    const uint64_t left = limit_of(m) - m->pos;

    if (n > left) {
        REFUSE(m, "truncated: %s needs %" PRIu64 " more bytes, %" PRIu64 " are left in the %s",
               m->row->name, n, left, m->op_off < m->frame_end ? "frame" : "pickle");
        return NULL;
    }
    const unsigned char *at = peek(m, n);
    m->pos += n;
    return at;
}

/* ---- arguments ------------------------------------------------------------------- */

static bool take_number(machine *m, int width)
{
    const unsigned char *at = take(m, (uint64_t)width);

    m->number = 0;
    for (int i = 0; at != NULL && i < width; i++)
        m->number |= (uint64_t)at[i] << 8 * i;
    return at != NULL;
}

static bool take_real(machine *m)
{
    const unsigned char *at = take(m, 8);
    uint64_t bits = 0;

    for (int i = 0; at != NULL && i < 8; i++)
        bits = bits << 8 | at[i];
    memcpy(&m->real, &bits, sizeof m->real);
    return at != NULL;
}

/* Two's complement of 0 to 255 bytes; what fits 64 bits has a value. */
static bool take_long(machine *m)
{
    if (!take_number(m, 1))
        return false;
    const uint64_t n = m->number;
    const unsigned char *at = take(m, n);
    if (at == NULL)
        return false;
    m->is_long = n > 8;
    m->number = n > 0 && (at[n - 1] & 0x80) ? UINT64_MAX : 0;
    for (uint64_t i = 0; i < n && i < 8; i++)
        m->number = (m->number & ~(UINT64_C(0xFF) << 8 * i)) | (uint64_t)at[i] << 8 * i;
    return true;
}

static bool is_printable(const char *s, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if ((unsigned char)s[i] <= 0x20 || (unsigned char)s[i] >= 0x7F)
            return false;
    return n > 0;
}

static bool take_lines(machine *m)
{
    for (int i = 0; i < 2; i++) {
        const uint64_t n = gk_min(GK_MAX_PICKLE_NAME + 1, limit_of(m) - m->pos);
        const unsigned char *at = peek(m, n);
        const unsigned char *end = at == NULL ? NULL : memchr(at, '\n', (size_t)n);
        if (at == NULL)
            return false;
        if (end == NULL || !is_printable((const char *)at, (uint64_t)(end - at)))
            return REFUSE(m,
                          "%s: expected a line of 1 to %d printable characters that names a "
                          "module or what is in it",
                          m->row->name, GK_MAX_PICKLE_NAME);
        m->line[i] = gk_arena_strn(m->arena, (const char *)at, (uint64_t)(end - at), m->err);
        if (m->line[i] == NULL)
            return false;
        m->pos += (uint64_t)(end - at) + 1;
    }
    return true;
}

/* A length and that many bytes, which are stepped over. */
static bool take_data(machine *m, int width)
{
    if (!take_number(m, width))
        return false;
    const uint64_t left = limit_of(m) - m->pos;
    if (m->number > left)
        return REFUSE(m,
                      "truncated: %s has a length of %" PRIu64 " bytes, beyond the end of the %s: "
                      "%" PRIu64 " are left",
                      m->row->name, m->number, m->op_off < m->frame_end ? "frame" : "pickle", left);
    m->data_off = m->pos;
    m->pos += m->number;
    return true;
}

static bool take_argument(machine *m)
{
    m->is_long = false;
    switch (m->row->arg) {
    case ARG_NONE: return true;
    case ARG_U8: return take_number(m, 1);
    case ARG_U16: return take_number(m, 2);
    case ARG_U32: return take_number(m, 4);
    case ARG_U64: return take_number(m, 8);
    case ARG_I32:
        if (!take_number(m, 4))
            return false;
        m->number = (uint64_t)(int64_t)(int32_t)(uint32_t)m->number;
        return true;
    case ARG_REAL: return take_real(m);
    case ARG_LONG1: return take_long(m);
    case ARG_LINES: return take_lines(m);
    case ARG_TEXT:
    case ARG_BYTES: return take_data(m, m->row->width);
    }
    return false;
}

/* ---- stack, marks, memo ------------------------------------------------------------ */

static bool too_many(machine *m, const char *what)
{
    return gk_fail(m->err, GK_ERR_LIMIT, m->op_off, "more than %u %s in one pickle",
                   GK_MAX_PICKLE_NODES, what);
}

static gk_pickled *node_of(machine *m, gk_pickle_kind kind)
{
    if (m->n_nodes >= GK_MAX_PICKLE_NODES)
        return too_many(m, "objects"), NULL;
    gk_pickled *node = gk_arena_alloc(m->arena, 1, sizeof *node, m->err);
    if (node == NULL)
        return NULL;
    m->n_nodes++;
    node->kind = (uint8_t)kind;
    node->at = m->op_off;
    return node;
}

static bool push(machine *m, const gk_pickled *node)
{
    void *stack = m->stack;

    if (node == NULL)
        return false;
    if (m->n_stack >= GK_MAX_PICKLE_NODES)
        return too_many(m, "objects on the stack");
    if (!gk_grow(&stack, &m->stack_cap, m->n_stack + 1, sizeof(const gk_pickled *), m->err))
        return false;
    m->stack = stack;
    m->stack[m->n_stack++] = node;
    return true;
}

/* Returns how many objects lie above the last mark (or on the whole stack). */
static uint64_t above_mark(const machine *m)
{
    return m->n_stack - (m->n_marks > 0 ? m->mark[m->n_marks - 1] : 0);
}

/* Takes the top n objects; they stay readable until the next push. */
static const gk_pickled **pop(machine *m, uint64_t n)
{
    if (above_mark(m) < n) {
        REFUSE(m, "stack underflow: %s needs %" PRIu64 " objects, %" PRIu64 " are there",
               m->row->name, n, above_mark(m));
        return NULL;
    }
    m->n_stack -= n;
    return m->stack + m->n_stack;
}

/* Takes what lies above the last mark, and the mark. */
static bool pop_mark(machine *m, const gk_pickled ***items, uint64_t *n)
{
    if (m->n_marks == 0)
        return REFUSE(m, "%s without a MARK on the stack", m->row->name);
    *n = above_mark(m);
    m->n_stack -= *n;
    *items = *n == 0 ? NULL : m->stack + m->n_stack; /* there may be no stack yet */
    m->n_marks--;
    return true;
}

static uint64_t slot_of(const machine *m, uint64_t key)
{
    uint64_t at = key * UINT64_C(0x9E3779B97F4A7C15) >> 20 & (m->n_slots - 1);

    while (m->memo[at].node != NULL && m->memo[at].key != key)
        at = (at + 1) & (m->n_slots - 1);
    return at;
}

static bool grow_memo(machine *m)
{
    machine bigger = {.n_slots = m->n_slots == 0 ? 64 : m->n_slots * 2};

    bigger.memo = gk_alloc(bigger.n_slots, sizeof *bigger.memo, m->err);
    if (bigger.memo == NULL)
        return false;
    memset(bigger.memo, 0, bigger.n_slots * sizeof *bigger.memo);
    for (uint64_t i = 0; i < m->n_slots; i++)
        if (m->memo[i].node != NULL)
            bigger.memo[slot_of(&bigger, m->memo[i].key)] = m->memo[i];
    gk_free(m->memo);
    m->memo = bigger.memo;
    m->n_slots = bigger.n_slots;
    return true;
}

static bool remember(machine *m, uint64_t key)
{
    if (above_mark(m) == 0)
        return REFUSE(m, "%s on an empty stack", m->row->name);
    if (m->n_memo >= GK_MAX_PICKLE_NODES)
        return too_many(m, "memo entries");
    if ((m->n_memo + 1) * 2 > m->n_slots && !grow_memo(m))
        return false;
    memo_slot *slot = &m->memo[slot_of(m, key)];
    m->n_memo += slot->node == NULL;
    *slot = (memo_slot){m->stack[m->n_stack - 1], key};
    return true;
}

static bool do_put(machine *m) { return remember(m, m->number); }

static bool do_memoize(machine *m) { return remember(m, m->n_memo); }

static bool do_get(machine *m)
{
    const gk_pickled *node = m->n_slots == 0 ? NULL : m->memo[slot_of(m, m->number)].node;

    if (node == NULL)
        return REFUSE(m, "%s of memo entry %" PRIu64 ", which was never filled", m->row->name,
                      m->number);
    return push(m, node);
}

/* ---- opcodes ----------------------------------------------------------------------- */

static bool do_proto(machine *m)
{
    if (m->op_off != m->in->begin)
        return REFUSE(m, "PROTO stands first and once: a second pickle in the same file?");
    if (m->number < 2 || m->number > 5)
        return REFUSE(m, "pickle protocol %" PRIu64 ", expected 2 to 5", m->number);
    return true;
}

static bool do_frame(machine *m)
{
    const uint64_t left = m->in->end - m->pos;

    if (m->op_off < m->frame_end)
        return REFUSE(m, "FRAME inside a frame, which ends at byte %" PRIu64, m->frame_end);
    if (m->number > left)
        return REFUSE(m, "FRAME of %" PRIu64 " bytes ends beyond the pickle, %" PRIu64 " are left",
                      m->number, left);
    m->frame_end = m->pos + m->number;
    return true;
}

static bool do_stop(machine *m)
{
    if (m->n_stack != 1 || m->n_marks != 0)
        return REFUSE(m,
                      "STOP with %" PRIu64 " objects and %" PRIu64 " marks on the stack, "
                      "expected one object",
                      m->n_stack, m->n_marks);
    if (m->pos != m->in->end)
        return REFUSE(m, "%" PRIu64 " trailing bytes after STOP (a second pickle, or junk)",
                      m->in->end - m->pos);
    m->stopped = true;
    return true;
}

static bool push_kind(machine *m) { return push(m, node_of(m, (gk_pickle_kind)m->row->count)); }

static bool push_bool(machine *m)
{
    gk_pickled *node = node_of(m, GK_PICKLE_BOOL);

    if (node != NULL)
        node->integer = m->row->count;
    return push(m, node);
}

static bool push_int(machine *m)
{
    gk_pickled *node = node_of(m, m->is_long ? GK_PICKLE_LONG : GK_PICKLE_INT);

    if (node != NULL)
        node->integer = (int64_t)m->number;
    return push(m, node);
}

static bool push_real(machine *m)
{
    gk_pickled *node = node_of(m, GK_PICKLE_REAL);

    if (node != NULL)
        node->real = m->real;
    return push(m, node);
}

static bool is_utf8(const char *s, uint64_t n)
{
    for (uint64_t i = 0, k; i < n; i += k)
        if ((k = (uint64_t)gk_utf8_len(s + i, n - i)) == 0)
            return false;
    return true;
}

static bool push_text(machine *m)
{
    gk_pickled *node = node_of(m, GK_PICKLE_TEXT);
    char *text;

    if (node == NULL)
        return false;
    node->off = m->data_off;
    node->len = m->number;
    if (node->len <= GK_MAX_PICKLE_TEXT) {
        text = gk_arena_alloc(m->arena, node->len + 1, 1, m->err);
        if (text == NULL || !gk_file_read(m->in->file, node->off, text, node->len, m->err))
            return false;
        if (!is_utf8(text, node->len))
            return REFUSE(m, "%s: a string that is not UTF-8", m->row->name);
        node->text = text;
    }
    return push(m, node);
}

static bool push_bytes(machine *m)
{
    gk_pickled *node = node_of(m, GK_PICKLE_BYTES);

    if (node != NULL) {
        node->off = m->data_off;
        node->len = m->number;
    }
    return push(m, node);
}

static bool do_mark(machine *m)
{
    void *marks = m->mark;

    if (m->n_marks >= GK_MAX_PICKLE_NODES)
        return too_many(m, "marks");
    if (!gk_grow(&marks, &m->marks_cap, m->n_marks + 1, sizeof *m->mark, m->err))
        return false;
    m->mark = marks;
    m->mark[m->n_marks++] = m->n_stack;
    return true;
}

/* Copies n items from the stack to the end of a node. */
static bool add_items(machine *m, gk_pickled *node, const gk_pickled *const *item, uint64_t n)
{
    if (n == 0)
        return true;
    gk_pickle_run *run = gk_arena_alloc(m->arena, 1, sizeof *run, m->err);
    if (run == NULL)
        return false;
    run->item = gk_arena_alloc(m->arena, n, sizeof(const gk_pickled *), m->err);
    if (run->item == NULL)
        return false;
    memcpy(run->item, item, n * sizeof *item);
    run->n = n;
    if (node->last != NULL)
        node->last->next = run;
    else
        node->first = run;
    node->last = run;
    node->n_items += n;
    return true;
}

static bool push_tuple(machine *m, const gk_pickled *const *item, uint64_t n)
{
    gk_pickled *node = node_of(m, GK_PICKLE_TUPLE);

    return node != NULL && add_items(m, node, item, n) && push(m, node);
}

static bool do_tuple(machine *m)
{
    const gk_pickled **item = NULL;
    uint64_t n = 0;

    return pop_mark(m, &item, &n) && push_tuple(m, item, n);
}

static bool do_tuple_n(machine *m)
{
    const gk_pickled **item = pop(m, (uint64_t)m->row->count);

    return item != NULL && push_tuple(m, item, (uint64_t)m->row->count);
}

/* Adds what was popped to the object now on top: a list, a dict, or a call that makes one. */
static bool add_to_top(machine *m, const gk_pickled *const *item, uint64_t n, gk_pickle_kind kind)
{
    if (above_mark(m) == 0)
        return REFUSE(m, "stack underflow: %s has nothing to add to", m->row->name);
    if (kind == GK_PICKLE_DICT && n % 2 != 0)
        return REFUSE(m, "%s with an odd number of objects: a key without a value", m->row->name);
    /* nodes are const for everyone but the machine that makes them */
    union {
        const gk_pickled *kept;
        gk_pickled *node;
    } top = {m->stack[m->n_stack - 1]};
    if (top.node->kind != kind && top.node->kind != GK_PICKLE_CALL)
        return REFUSE(m, "%s to something that is not a %s", m->row->name,
                      kind == GK_PICKLE_DICT ? "dict" : "list");
    return add_items(m, top.node, item, n);
}

static bool do_append(machine *m)
{
    const gk_pickled **item = pop(m, 1);

    return item != NULL && add_to_top(m, item, 1, GK_PICKLE_LIST);
}

static bool do_appends(machine *m)
{
    const gk_pickled **item = NULL;
    uint64_t n = 0;

    return pop_mark(m, &item, &n) && add_to_top(m, item, n, GK_PICKLE_LIST);
}

static bool do_setitem(machine *m)
{
    const gk_pickled **item = pop(m, 2);

    return item != NULL && add_to_top(m, item, 2, GK_PICKLE_DICT);
}

static bool do_setitems(machine *m)
{
    const gk_pickled **item = NULL;
    uint64_t n = 0;

    return pop_mark(m, &item, &n) && add_to_top(m, item, n, GK_PICKLE_DICT);
}

/* ---- globals and calls --------------------------------------------------------------- */

static bool tell_unknown(machine *m, const gk_pickled *node)
{
    char text[GK_PICKLE_SAYS + 100];

    if (m->in->findings == NULL || ++m->n_unknown > MAX_TOLD)
        return true;
    snprintf(text, sizeof text,
             "names %s.%s, which no weights need; it is never imported or called here",
             node->module, node->name);
    const gk_finding row = {.check = "pickle",
                            .severity = GK_WARN,
                            .code = GK_ERR_UNSUPPORTED,
                            .off = node->at,
                            .file = m->in->file->name,
                            .text = text};
    return gk_findings_add(m->in->findings, &row, m->err);
}

static bool push_global(machine *m, const char *module, const char *name)
{
    gk_pickled *node = node_of(m, GK_PICKLE_GLOBAL);

    if (node == NULL)
        return false;
    node->module = module;
    node->name = name;
    for (const gk_pickle_global *g = m->in->known; g->module != NULL && !node->flag; g++)
        node->flag = gk_pickle_is_global(node, g->module, g->name);
    return (node->flag || tell_unknown(m, node)) && push(m, node);
}

static bool do_global(machine *m) { return push_global(m, m->line[0], m->line[1]); }

static bool do_stack_global(machine *m)
{
    const gk_pickled **item = pop(m, 2);

    if (item == NULL)
        return false;
    for (int i = 0; i < 2; i++)
        if (item[i]->kind != GK_PICKLE_TEXT || item[i]->len > GK_MAX_PICKLE_NAME
            || !is_printable(item[i]->text, item[i]->len))
            return REFUSE(m, "%s: expected two names of 1 to %d printable characters", m->row->name,
                          GK_MAX_PICKLE_NAME);
    return push_global(m, item[0]->text, item[1]->text);
}

/* REDUCE and NEWOBJ: what would be called, and with what. */
static bool do_call(machine *m)
{
    const gk_pickled **item = pop(m, 2);

    if (item == NULL)
        return false;
    const gk_pickled *callable = item[0], *args = item[1];
    if (args->kind != GK_PICKLE_TUPLE)
        return REFUSE(m, "%s: the arguments are no tuple", m->row->name);
    gk_pickled *node = node_of(m, GK_PICKLE_CALL);
    if (node == NULL)
        return false;
    node->callable = callable;
    node->args = args;
    node->flag = m->row->count == 1;
    return push(m, node);
}

static bool do_build(machine *m)
{
    const gk_pickled **item = pop(m, 1);

    if (item == NULL)
        return false;
    if (above_mark(m) == 0)
        return REFUSE(m, "stack underflow: BUILD has nothing to build");
    union {
        const gk_pickled *kept;
        gk_pickled *node;
    } top = {m->stack[m->n_stack - 1]};
    if (top.node->kind != GK_PICKLE_CALL || top.node->state != NULL)
        return REFUSE(m, "BUILD of a state for something that %s",
                      top.node->kind == GK_PICKLE_CALL ? "has one" : "is not made by a call");
    top.node->state = item[0];
    return true;
}

static bool do_persistent(machine *m)
{
    const gk_pickled **item = pop(m, 1);

    if (item == NULL)
        return false;
    const gk_pickled *id = item[0];
    gk_pickled *node = node_of(m, GK_PICKLE_PERSISTENT);
    if (node != NULL)
        node->id = id;
    return push(m, node);
}

/* ---- the table ----------------------------------------------------------------------- */

#define NP   GK_PICKLE_NUMPY
#define TO   GK_PICKLE_TORCH
#define BOTH (NP | TO)

static const op_row ops[256] = {
    [0x80] = {"PROTO", do_proto, ARG_U8, 0, BOTH, 0},
    [0x95] = {"FRAME", do_frame, ARG_U64, 0, NP, 0},
    ['.'] = {"STOP", do_stop, ARG_NONE, 0, BOTH, 0},

    ['N'] = {"NONE", push_kind, ARG_NONE, 0, BOTH, GK_PICKLE_NONE},
    [0x88] = {"NEWTRUE", push_bool, ARG_NONE, 0, BOTH, 1},
    [0x89] = {"NEWFALSE", push_bool, ARG_NONE, 0, BOTH, 0},
    ['J'] = {"BININT", push_int, ARG_I32, 0, BOTH, 0},
    ['K'] = {"BININT1", push_int, ARG_U8, 0, BOTH, 0},
    ['M'] = {"BININT2", push_int, ARG_U16, 0, BOTH, 0},
    [0x8A] = {"LONG1", push_int, ARG_LONG1, 0, BOTH, 0},
    ['G'] = {"BINFLOAT", push_real, ARG_REAL, 0, BOTH, 0},

    [0x8C] = {"SHORT_BINUNICODE", push_text, ARG_TEXT, 1, NP, 0},
    ['X'] = {"BINUNICODE", push_text, ARG_TEXT, 4, BOTH, 0},
    [0x8D] = {"BINUNICODE8", push_text, ARG_TEXT, 8, NP, 0},
    ['U'] = {"SHORT_BINSTRING", push_bytes, ARG_BYTES, 1, BOTH, 0},
    ['T'] = {"BINSTRING", push_bytes, ARG_BYTES, 4, NP, 0},
    ['C'] = {"SHORT_BINBYTES", push_bytes, ARG_BYTES, 1, NP, 0},
    ['B'] = {"BINBYTES", push_bytes, ARG_BYTES, 4, NP, 0},
    [0x8E] = {"BINBYTES8", push_bytes, ARG_BYTES, 8, NP, 0},
    [0x96] = {"BYTEARRAY8", push_bytes, ARG_BYTES, 8, NP, 0},

    ['('] = {"MARK", do_mark, ARG_NONE, 0, BOTH, 0},
    [')'] = {"EMPTY_TUPLE", push_kind, ARG_NONE, 0, BOTH, GK_PICKLE_TUPLE},
    [']'] = {"EMPTY_LIST", push_kind, ARG_NONE, 0, BOTH, GK_PICKLE_LIST},
    ['}'] = {"EMPTY_DICT", push_kind, ARG_NONE, 0, BOTH, GK_PICKLE_DICT},
    [0x8F] = {"EMPTY_SET", push_kind, ARG_NONE, 0, TO, GK_PICKLE_SET},
    ['t'] = {"TUPLE", do_tuple, ARG_NONE, 0, BOTH, 0},
    [0x85] = {"TUPLE1", do_tuple_n, ARG_NONE, 0, BOTH, 1},
    [0x86] = {"TUPLE2", do_tuple_n, ARG_NONE, 0, BOTH, 2},
    [0x87] = {"TUPLE3", do_tuple_n, ARG_NONE, 0, BOTH, 3},
    ['a'] = {"APPEND", do_append, ARG_NONE, 0, BOTH, 0},
    ['e'] = {"APPENDS", do_appends, ARG_NONE, 0, BOTH, 0},
    ['s'] = {"SETITEM", do_setitem, ARG_NONE, 0, BOTH, 0},
    ['u'] = {"SETITEMS", do_setitems, ARG_NONE, 0, BOTH, 0},

    ['c'] = {"GLOBAL", do_global, ARG_LINES, 0, BOTH, 0},
    [0x93] = {"STACK_GLOBAL", do_stack_global, ARG_NONE, 0, NP, 0},
    ['R'] = {"REDUCE", do_call, ARG_NONE, 0, BOTH, 0},
    [0x81] = {"NEWOBJ", do_call, ARG_NONE, 0, BOTH, 1},
    ['b'] = {"BUILD", do_build, ARG_NONE, 0, BOTH, 0},
    ['Q'] = {"BINPERSID", do_persistent, ARG_NONE, 0, TO, 0},

    ['h'] = {"BINGET", do_get, ARG_U8, 0, BOTH, 0},
    ['j'] = {"LONG_BINGET", do_get, ARG_U32, 0, BOTH, 0},
    ['q'] = {"BINPUT", do_put, ARG_U8, 0, BOTH, 0},
    ['r'] = {"LONG_BINPUT", do_put, ARG_U32, 0, BOTH, 0},
    [0x94] = {"MEMOIZE", do_memoize, ARG_NONE, 0, NP, 0},
};

static bool step(machine *m)
{
    static const op_row any = {.name = "an opcode"};

    m->op_off = m->pos;
    m->row = &any;
    if (m->pos == m->in->end)
        return REFUSE(m, "truncated: the pickle ends without STOP");
    const unsigned char *at = take(m, 1);
    if (at == NULL)
        return false;
    m->op = *at;
    m->row = &ops[m->op];
    if (m->op_off == m->in->begin && m->op != 0x80)
        return REFUSE(m,
                      "no pickle of protocol 2 to 5: it begins with opcode 0x%02x, "
                      "expected PROTO (0x80)",
                      m->op);
    if (!(m->row->dialects & (int)m->in->dialect))
        return REFUSE(m, "opcode 0x%02x%s%s%s is not in the set that is read", m->op,
                      m->row->name != NULL ? " (" : "", m->row->name != NULL ? m->row->name : "",
                      m->row->name != NULL ? ")" : "");
    return take_argument(m) && m->row->run(m);
}

static bool tell_rest(machine *m)
{
    if (m->n_unknown <= MAX_TOLD)
        return true;
    return gk_findings_addf(m->in->findings, "pickle", GK_WARN, m->in->file->name, NULL, m->err,
                            "names %" PRIu64 " more globals that no weights need",
                            m->n_unknown - MAX_TOLD);
}

const gk_pickled *gk_pickle_read(gk_arena *a, const gk_pickle_input *in, gk_err *err)
{
    machine *m = gk_alloc(1, sizeof *m, err);
    const gk_pickled *root = NULL;
    bool ok = m != NULL;

    if (!ok)
        return NULL;
    *m = (machine){.in = in, .arena = a, .pos = in->begin, .err = err};
    if (in->begin == in->end)
        ok = gk_fail(err, GK_ERR_FORMAT, in->begin, "empty: a pickle has at least PROTO and STOP");
    while (ok && !m->stopped)
        ok = step(m);
    if (ok && tell_rest(m))
        root = m->stack[0];
    if (root == NULL)
        gk_fail_at(err, in->file->name, NULL);
    gk_free(m->stack);
    gk_free(m->mark);
    gk_free(m->memo);
    gk_free(m);
    return root;
}
