/* formats/bpe.c - the tables, and two ways to merge: an array for short words, a heap. */
#include "formats/bpe.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_WORD 64 /* bytes; longer ones use a heap, or a run of 'a' would be quadratic */
#define NO_RANK    UINT32_MAX

bool gk_ids_add(gk_ids *ids, uint32_t id, gk_err *err)
{
    void *rows = ids->id;

    if (ids->n == ids->cap) {
        if (!gk_grow(&rows, &ids->cap, ids->n + 1, sizeof *ids->id, err))
            return false;
        ids->id = rows;
    }
    ids->id[ids->n++] = id;
    return true;
}

void gk_ids_free(gk_ids *ids)
{
    gk_free(ids->id);
    *ids = (gk_ids){0};
}

/* ---- the tables ---------------------------------------------------------------- */

static uint64_t hash_bytes(const char *s, uint64_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (uint64_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)s[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static uint32_t *find_slot(const gk_bpe *b, const char *bytes, uint64_t len)
{
    uint64_t at = hash_bytes(bytes, len) & (b->n_slots - 1);

    for (; b->slot[at] != 0; at = (at + 1) & (b->n_slots - 1)) {
        const gk_token *t = &b->v->token[b->slot[at] - 1];
        if (t->len == len && memcmp(b->v->pool.data + t->off, bytes, (size_t)len) == 0)
            break;
    }
    return &b->slot[at];
}

static uint32_t *find_pair(const gk_bpe *b, uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t at = (h ^ h >> 29) & (b->n_pairs - 1);

    for (; b->pair[at] != 0; at = (at + 1) & (b->n_pairs - 1)) {
        const gk_merge *m = &b->v->merge[b->pair[at] - 1];
        if (m->left == left && m->right == right)
            break;
    }
    return &b->pair[at];
}

uint32_t gk_bpe_find(const gk_bpe *b, const char *bytes, uint64_t len)
{
    const uint32_t found = *find_slot(b, bytes, len);

    return found == 0 ? GK_NO_TOKEN : found - 1;
}

static uint32_t *new_table(uint64_t n, uint64_t *n_slots, gk_err *err)
{
    *n_slots = 1024;
    while (*n_slots < n * 2)
        *n_slots *= 2;
    uint32_t *table = gk_alloc(*n_slots, sizeof *table, err);
    if (table != NULL)
        memset(table, 0, *n_slots * sizeof *table);
    return table;
}

/* Tokens that are normal, or those that are not. */
static bool enter_tokens(gk_bpe *b, bool normal, gk_err *err)
{
    const bool unique = normal || b->v->kind == GK_SENTENCEPIECE;

    for (uint64_t i = 0; i < b->v->n; i++) {
        const gk_token *t = &b->v->token[i];
        if ((t->type == GK_TOKEN_NORMAL) != normal || t->len == 0)
            continue;
        uint32_t *slot = find_slot(b, b->v->pool.data + t->off, t->len);
        if (*slot != 0 && unique) {
            gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF,
                    "duplicate: token %" PRIu64 " has the bytes of another", i);
            return gk_fail_at(err, b->v->file, NULL);
        }
        if (*slot == 0)
            *slot = (uint32_t)i + 1;
    }
    return true;
}

/* A byte's token: its own bytes, of pieces <0xHH> or else the same. */
static void enter_bytes(gk_bpe *b)
{
    char name[8];

    for (unsigned i = 0; i < 256; i++) {
        const char byte = (char)i;
        b->byte[i] = GK_NO_TOKEN;
        if (b->v->kind == GK_SENTENCEPIECE) {
            snprintf(name, sizeof name, "<0x%02X>", i);
            b->byte[i] = gk_bpe_find(b, name, 6);
        }
        if (b->byte[i] == GK_NO_TOKEN)
            b->byte[i] = gk_bpe_find(b, &byte, 1);
    }
}

typedef struct scored {
    float score;
    uint32_t id;
} scored;

/* Highest first. */
static int by_score(const void *a, const void *b)
{
    const scored *x = a, *y = b;

    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static bool rank_scores(gk_bpe *b, gk_err *err)
{
    const uint64_t n = b->v->n;
    scored *order = gk_alloc(n, sizeof *order, err);
    uint32_t rank = 0;

    b->rank = gk_alloc(n, sizeof *b->rank, err);
    for (uint64_t i = 0; order != NULL && i < n; i++) {
        const float score = b->v->token[i].score;
        order[i] = (scored){isnan(score) ? -INFINITY : score, (uint32_t)i};
    }
    if (order != NULL && b->rank != NULL && n > 0) {
        qsort(order, (size_t)n, sizeof *order, by_score);
        for (uint64_t i = 0; i < n; i++) {
            rank += i > 0 && order[i].score != order[i - 1].score;
            b->rank[order[i].id] = rank;
        }
    }
    gk_free(order);
    return order != NULL && b->rank != NULL;
}

static bool enter_merges(gk_bpe *b, gk_err *err)
{
    b->pair = new_table(b->v->n_merges, &b->n_pairs, err);
    for (uint64_t i = 0; b->pair != NULL && i < b->v->n_merges; i++) {
        uint32_t *pair = find_pair(b, b->v->merge[i].left, b->v->merge[i].right);
        if (*pair == 0)
            *pair = (uint32_t)i + 1;
    }
    return b->pair != NULL;
}

bool gk_bpe_init(gk_bpe *b, const gk_vocabulary *v, gk_err *err)
{
    const bool by_ranks = v->kind == GK_BPE_RANKS;
    const bool by_scores = v->kind == GK_SENTENCEPIECE && !v->has_merges;

    *b = (gk_bpe){.v = v};
    b->slot = new_table(v->n, &b->n_slots, err);
    if (b->slot == NULL || !enter_tokens(b, true, err)
        || (!by_ranks && !enter_tokens(b, false, err)))
        return false;
    enter_bytes(b);
    return by_ranks || (by_scores ? rank_scores(b, err) : enter_merges(b, err));
}

void gk_bpe_free(gk_bpe *b)
{
    gk_free(b->slot);
    gk_free(b->pair);
    gk_free(b->rank);
    b->slot = b->pair = b->rank = NULL;
}

/* ---- merging ------------------------------------------------------------------- */

typedef struct merging {
    const gk_bpe *b;
    const char *word;
    uint64_t len;
    uint32_t below;
    /* of long words, by the byte where a part begins */
    uint32_t *end;  /* of the part; 0: none begins here */
    uint32_t *prev; /* begin of the part before         */
    uint32_t *id;
    struct pair *heap;
    uint64_t n;
} merging;

/* The rank of merging the tokens left and right, which are bytes [begin, end) together, or
 * NO_RANK; *joined is what they become. */
static uint32_t rank_of(const merging *m, uint32_t left, uint32_t right, uint64_t begin,
                        uint64_t end, uint32_t *joined)
{
    uint32_t rank;

    if (m->b->pair == NULL) {
        rank = *joined = gk_bpe_find(m->b, m->word + begin, end - begin);
        if (rank != GK_NO_TOKEN && m->b->rank != NULL)
            rank = m->b->rank[rank];
    } else {
        rank = *find_pair(m->b, left, right) - 1; /* none: 0 - 1 is NO_RANK */
        *joined = rank == NO_RANK ? GK_NO_TOKEN : m->b->v->merge[rank].joined;
    }
    return rank < m->below ? rank : NO_RANK;
}

static bool byte_token(const merging *m, uint64_t at, uint32_t *id, gk_err *err)
{
    const unsigned byte = (unsigned char)m->word[at];

    *id = m->b->byte[byte];
    if (*id != GK_NO_TOKEN)
        return true;
    gk_fail(err, GK_ERR_FORMAT, GK_NO_OFF, "the vocabulary has no token for the byte 0x%02x", byte);
    return gk_fail_at(err, m->b->v->file, NULL);
}

/* What a word begins as: the token and bytes of the part at `at`, a byte or of pieces a
 * character, which need not have a token. */
static bool first_token(const merging *m, uint64_t at, uint32_t *id, uint32_t *len, gk_err *err)
{
    *len = 1;
    if (m->b->v->kind != GK_SENTENCEPIECE)
        return byte_token(m, at, id, err);
    const int n = gk_utf8_len(m->word + at, m->len - at);
    if (n > 1)
        *len = (uint32_t)n;
    *id = gk_bpe_find(m->b, m->word + at, *len);
    return true;
}

static bool add_part(const merging *m, uint32_t id, uint64_t begin, uint64_t end, gk_ids *out,
                     gk_err *err)
{
    if (id != GK_NO_TOKEN)
        return gk_ids_add(out, id, err);
    for (; begin < end; begin++)
        if (!byte_token(m, begin, &id, err) || !gk_ids_add(out, id, err))
            return false;
    return true;
}

/* A part of a short word, and the merge with the part that follows. */
typedef struct part {
    uint32_t begin, id;
    uint32_t rank, joined;
} part;

static void rank_part(const merging *m, part *p)
{
    p->rank = rank_of(m, p[0].id, p[1].id, p[0].begin, p[2].begin, &p->joined);
}

/* Looks for the lowest pair again and again. */
static bool merge_short(const merging *m, gk_ids *out, gk_err *err)
{
    part p[SHORT_WORD + 1];
    unsigned n = 0;

    for (uint32_t at = 0, len; at < m->len; at += len, n++) {
        p[n] = (part){.begin = at, .rank = NO_RANK};
        if (!first_token(m, at, &p[n].id, &len, err))
            return false;
    }
    p[n] = (part){.begin = (uint32_t)m->len};
    for (unsigned i = 0; i + 1 < n; i++)
        rank_part(m, &p[i]);
    while (n > 1) {
        unsigned at = 0;
        for (unsigned i = 1; i + 1 < n; i++)
            if (p[i].rank < p[at].rank)
                at = i;
        if (p[at].rank == NO_RANK)
            break;
        p[at].id = p[at].joined;
        memmove(&p[at + 1], &p[at + 2], (n - at - 1) * sizeof p[0]);
        n--;
        p[at].rank = NO_RANK;
        if (at + 1 < n)
            rank_part(m, &p[at]);
        if (at > 0)
            rank_part(m, &p[at - 1]);
    }
    for (unsigned i = 0; i < n; i++)
        if (!add_part(m, p[i].id, p[i].begin, p[i + 1].begin, out, err))
            return false;
    return true;
}

/* A pair that could be merged when it was pushed; stale once either part has changed. */
typedef struct pair {
    uint32_t rank, joined;
    uint32_t begin, middle, end; /* bytes of both parts */
} pair;

static bool is_before(const pair *a, const pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->begin < b->begin;
}

/* The part that begins at begin and the one after it. */
static void push(merging *m, uint32_t begin)
{
    pair p = {.begin = begin, .middle = m->end[begin]};
    uint64_t i = m->n;

    p.end = m->end[p.middle];
    p.rank = rank_of(m, m->id[begin], m->id[p.middle], begin, p.end, &p.joined);
    if (p.rank == NO_RANK)
        return;
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

static bool merge_heap(merging *m, gk_err *err)
{
    uint32_t before = UINT32_MAX; /* of the first */

    for (uint32_t i = 0, len; i < m->len; i += len) {
        if (!first_token(m, i, &m->id[i], &len, err))
            return false;
        for (uint32_t k = 0; k < len; k++)
            m->end[i + k] = k == 0 ? i + len : 0;
        m->prev[i] = before;
        before = i;
    }
    for (uint32_t i = 0; m->end[i] < m->len; i = m->end[i])
        push(m, i);
    while (m->n > 0) {
        const pair p = pop(m);
        if (m->end[p.begin] != p.middle || m->end[p.middle] != p.end)
            continue; /* stale */
        m->end[p.begin] = p.end;
        m->end[p.middle] = 0;
        m->id[p.begin] = p.joined;
        if (p.end < m->len) {
            m->prev[p.end] = p.begin;
            push(m, p.begin);
        }
        if (m->prev[p.begin] != UINT32_MAX)
            push(m, m->prev[p.begin]);
    }
    return true;
}

/* Each merge pushes at most two pairs, and there are at most len - 1 merges. */
static bool merge_long(merging *m, gk_ids *out, gk_err *err)
{
    m->end = gk_alloc(m->len, sizeof *m->end, err);
    m->prev = gk_alloc(m->len, sizeof *m->prev, err);
    m->id = gk_alloc(m->len, sizeof *m->id, err);
    m->heap = gk_alloc(m->len * 3, sizeof *m->heap, err);
    bool ok = m->end != NULL && m->prev != NULL && m->id != NULL && m->heap != NULL
              && merge_heap(m, err);
    for (uint64_t i = 0; ok && i < m->len; i = m->end[i])
        ok = add_part(m, m->id[i], i, m->end[i], out, err);
    gk_free(m->end);
    gk_free(m->prev);
    gk_free(m->id);
    gk_free(m->heap);
    return ok;
}

bool gk_bpe_merge(const gk_bpe *b, const char *word, uint64_t len, uint32_t below, gk_ids *out,
                  gk_err *err)
{
    merging m = {.b = b, .word = word, .len = len, .below = below};

    if (len <= SHORT_WORD)
        return merge_short(&m, out, err);
    if (len >= UINT32_MAX / 4)
        return gk_fail(err, GK_ERR_LIMIT, GK_NO_OFF, "a word of more than 1 GiB");
    return merge_long(&m, out, err);
}

bool gk_bpe_word(const gk_bpe *b, const char *word, uint64_t len, gk_ids *out, gk_err *err)
{
    if (b->v->kind == GK_BPE_RANKS || b->v->ignore_merges) {
        const uint32_t whole = gk_bpe_find(b, word, len);
        if (whole != GK_NO_TOKEN)
            return gk_ids_add(out, whole, err);
    }
    return gk_bpe_merge(b, word, len, NO_RANK, out, err);
}
