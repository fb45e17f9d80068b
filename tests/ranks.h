/* tests/ranks.h - byte level BPE by ranks, written to be read rather than to be fast.
 *
 * A token's rank is its number. To merge a word, start from its bytes and join, again and
 * again, the leftmost of the neighbours whose bytes together have the lowest rank (openai/
 * tiktoken src/lib.rs @4e71bbe0). Knows nothing of the project's own tokenizer, so that it
 * can judge it. */
#ifndef GK_TESTS_RANKS_H
#define GK_TESTS_RANKS_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define RANKS_TOKENS 131072
#define RANKS_BYTES  24 /* of a token */
#define RANKS_SLOTS  (1u << 19)

typedef struct rank_token {
    unsigned char bytes[RANKS_BYTES];
    size_t        len;
} rank_token;

typedef struct ranks {
    rank_token *t;
    uint32_t    n;
    uint32_t   *slot; /* hash of bytes: rank + 1, 0 is free */
} ranks;

/* Returns 0 when there is no memory. */
static inline int ranks_init(ranks *v)
{
    *v = (ranks){.t = calloc(RANKS_TOKENS, sizeof *v->t),
                 .slot = calloc(RANKS_SLOTS, sizeof *v->slot)};
    return v->t != NULL && v->slot != NULL;
}

static inline void ranks_free(ranks *v)
{
    free(v->t);
    free(v->slot);
}

/* Where the token of those bytes is, or would be, entered: its rank + 1, or 0. */
static inline uint32_t *ranks_slot(const ranks *v, const unsigned char *s, size_t n)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ s[i]) * 16777619u;
    for (uint32_t at = (h ^ h >> 15) % RANKS_SLOTS;; at = (at + 1) % RANKS_SLOTS) {
        const uint32_t k = v->slot[at];
        if (k == 0 || (v->t[k - 1].len == n && memcmp(v->t[k - 1].bytes, s, n) == 0))
            return &v->slot[at];
    }
}

/* Appends the token of the next rank, which must be new and at most RANKS_BYTES long. */
static inline void ranks_add(ranks *v, const unsigned char *s, size_t n)
{
    rank_token *t = &v->t[v->n++];

    memcpy(t->bytes, s, n);
    t->len = n;
    *ranks_slot(v, s, n) = v->n;
}

/* Merges at most RANKS_BYTES bytes by the tokens there are; returns how many parts are
 * left, and where the second and the third begin (or end, without a third). */
static inline int ranks_merge(const ranks *v, const unsigned char *s, size_t n, size_t *second,
                              size_t *third)
{
    size_t begin[RANKS_BYTES + 1];
    int parts = (int)n;

    for (size_t i = 0; i <= n; i++)
        begin[i] = i;
    for (;;) {
        uint32_t lowest = UINT32_MAX;
        int at = 0;
        for (int i = 0; i + 1 < parts; i++) {
            const uint32_t k = *ranks_slot(v, s + begin[i], begin[i + 2] - begin[i]);
            if (k != 0 && k < lowest) {
                lowest = k;
                at = i;
            }
        }
        if (lowest == UINT32_MAX)
            break;
        memmove(&begin[at + 1], &begin[at + 2], (size_t)(parts - at - 1) * sizeof begin[0]);
        parts--;
    }
    *second = begin[parts > 1 ? 1 : parts];
    *third = begin[parts > 2 ? 2 : parts];
    return parts;
}

#endif
