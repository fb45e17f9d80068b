/* verify/bpe.c - byte pair encoding of one word. */
#include "verify/bpe.h"

#include <string.h>

#define SHORT_WORD 64 /* bytes; longer ones use a heap, or a run of 'a' would be quadratic */

/* ---- ranks ------------------------------------------------------------------ */

static uint64_t hash_bytes(const char *s, uint64_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (uint64_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

bool gk_ranks_init(gk_ranks *r, uint64_t n, const char *bytes, const uint64_t *off, gk_err *err)
{
    *r = (gk_ranks){.bytes = bytes, .off = off, .n_slots = 1024};
    while (r->n_slots < n * 2)
        r->n_slots *= 2;
    r->slot = gk_alloc(r->n_slots, sizeof *r->slot, err);
    if (r->slot == NULL)
        return false;
    memset(r->slot, 0, r->n_slots * sizeof *r->slot);
    return true;
}

void gk_ranks_free(gk_ranks *r)
{
    gk_free(r->slot);
    r->slot = NULL;
}

static uint32_t *find_slot(const gk_ranks *r, const char *bytes, uint64_t len)
{
    uint64_t at = hash_bytes(bytes, len) & (r->n_slots - 1);

    for (; r->slot[at] != 0; at = (at + 1) & (r->n_slots - 1)) {
        const uint32_t id = r->slot[at] - 1;
        if (r->off[id + 1] - r->off[id] == len && memcmp(r->bytes + r->off[id], bytes, len) == 0)
            break;
    }
    return &r->slot[at];
}

bool gk_ranks_add(gk_ranks *r, uint32_t id)
{
    uint32_t *slot = find_slot(r, r->bytes + r->off[id], r->off[id + 1] - r->off[id]);

    if (*slot != 0)
        return false;
    *slot = id + 1;
    return true;
}

uint32_t gk_ranks_find(const gk_ranks *r, const char *bytes, uint64_t len)
{
    const uint32_t found = *find_slot(r, bytes, len);

    return found == 0 ? GK_NO_RANK : found - 1;
}

static bool append(gk_ids *out, uint32_t id, gk_err *err)
{
    void *ids = out->id;

    if (out->n == out->cap) {
        if (!gk_grow(&ids, &out->cap, out->n + 1, sizeof *out->id, err))
            return false;
        out->id = ids;
    }
    out->id[out->n++] = id;
    return true;
}

/* ---- short words: look for the lowest pair again and again -------------------- */

static bool merge_short(const gk_ranks *r, const char *word, unsigned len, gk_ids *out, gk_err *err)
{
    unsigned begin[SHORT_WORD + 1], n = len; /* part i is [begin[i], begin[i + 1]) */
    uint32_t rank[SHORT_WORD];               /* of parts i and i + 1 joined        */

    for (unsigned i = 0; i <= n; i++)
        begin[i] = i;
    for (unsigned i = 0; i + 1 < n; i++)
        rank[i] = gk_ranks_find(r, word + i, 2);
    while (n > 1) {
        unsigned at = 0;
        for (unsigned i = 1; i + 1 < n; i++)
            if (rank[i] < rank[at])
                at = i;
        if (rank[at] == GK_NO_RANK)
            break;
        n--;
        memmove(&begin[at + 1], &begin[at + 2], (n - at) * sizeof begin[0]);
        if (at + 1 < n)
            memmove(&rank[at], &rank[at + 1], (n - 1 - at) * sizeof rank[0]);
        if (at + 1 < n)
            rank[at] = gk_ranks_find(r, word + begin[at], begin[at + 2] - begin[at]);
        if (at > 0)
            rank[at - 1] = gk_ranks_find(r, word + begin[at - 1], begin[at + 1] - begin[at - 1]);
    }
    for (unsigned i = 0; i < n; i++)
        if (!append(out, gk_ranks_find(r, word + begin[i], begin[i + 1] - begin[i]), err))
            return false;
    return true;
}

/* ---- long words: a heap of pairs ----------------------------------------------- */

/* A pair that was mergeable when it was pushed; stale once either part has changed. */
typedef struct pair {
    uint32_t rank;
    uint32_t begin, end; /* bytes of both parts */
} pair;

typedef struct merging {
    const gk_ranks *r;
    const char     *word;
    uint32_t       *end;  /* of the part that begins here; 0: none begins here */
    uint32_t       *prev; /* begin of the part before the one that begins here */
    pair           *heap;
    uint64_t        n, len;
} merging;

static bool is_before(const pair *a, const pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->begin < b->begin;
}

static void push(merging *m, uint64_t begin, uint64_t end)
{
    const uint32_t rank = gk_ranks_find(m->r, m->word + begin, end - begin);
    uint64_t i = m->n;

    if (rank == GK_NO_RANK)
        return;
    const pair p = {rank, (uint32_t)begin, (uint32_t)end};
    for (m->n++; i > 0 && is_before(&p, &m->heap[(i - 1) / 2]); i = (i - 1) / 2)
        m->heap[i] = m->heap[(i - 1) / 2];
    m->heap[i] = p;
}

static pair pop(merging *m)
{
    const pair top = m->heap[0], last = m->heap[--m->n];
    uint64_t i = 0;

    for (uint64_t child; (child = 2 * i + 1) < m->n; i = child) {
        if (child + 1 < m->n && is_before(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!is_before(&m->heap[child], &last))
            break;
        m->heap[i] = m->heap[child];
    }
    m->heap[i] = last;
    return top;
}

static void merge_all(merging *m)
{
    for (uint64_t i = 0; i < m->len; i++) {
        m->end[i] = (uint32_t)i + 1;
        m->prev[i] = i == 0 ? UINT32_MAX : (uint32_t)i - 1;
    }
    for (uint64_t i = 0; i + 1 < m->len; i++)
        push(m, i, i + 2);
    while (m->n > 0) {
        const pair p = pop(m);
        const uint32_t middle = m->end[p.begin];
        if (middle == 0 || middle >= p.end || m->end[middle] != p.end)
            continue; /* stale */
        m->end[p.begin] = p.end;
        m->end[middle] = 0;
        if (p.end < m->len) {
            m->prev[p.end] = p.begin;
            push(m, p.begin, m->end[p.end]);
        }
        if (m->prev[p.begin] != UINT32_MAX)
            push(m, m->prev[p.begin], p.end);
    }
}

/* Each merge pushes at most two pairs, and there are at most len - 1 merges. */
static bool merge_long(const gk_ranks *r, const char *word, uint64_t len, gk_ids *out, gk_err *err)
{
    merging m = {.r = r, .word = word, .len = len};

    m.end = gk_alloc(len, sizeof *m.end, err);
    m.prev = gk_alloc(len, sizeof *m.prev, err);
    m.heap = gk_alloc(len * 3, sizeof *m.heap, err);
    bool ok = m.end != NULL && m.prev != NULL && m.heap != NULL;
    if (ok)
        merge_all(&m);
    for (uint64_t i = 0; ok && i < len; i = m.end[i])
        ok = append(out, gk_ranks_find(r, word + i, m.end[i] - i), err);
    gk_free(m.end);
    gk_free(m.prev);
    gk_free(m.heap);
    return ok;
}

bool gk_bpe_word(const gk_ranks *r, const char *word, uint64_t len, gk_ids *out, gk_err *err)
{
    const uint32_t whole = gk_ranks_find(r, word, len);

    if (whole != GK_NO_RANK)
        return append(out, whole, err);
    if (len <= SHORT_WORD)
        return merge_short(r, word, (unsigned)len, out, err);
    if (len >= UINT32_MAX / 4)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "a word of more than 1 GiB");
    return merge_long(r, word, len, out, err);
}
