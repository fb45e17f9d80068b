/* verify/bpe.h - ranks of byte strings, and merging by them. Private to the tokenizer. */
#ifndef GK_VERIFY_BPE_H
#define GK_VERIFY_BPE_H

#include "verify/tokenizer.h"

#define GK_NO_RANK UINT32_MAX

/* A hash table from byte strings to ids. */
typedef struct gk_ranks {
    const char     *bytes; /* all tokens' bytes, one after the other */
    const uint64_t *off;   /* of token i: bytes [off[i], off[i + 1]) */
    uint32_t       *slot;  /* id + 1, 0 is free                      */
    uint64_t        n_slots;
} gk_ranks;

/* Makes an empty table for n tokens whose bytes are given. */
bool gk_ranks_init(gk_ranks *r, uint64_t n, const char *bytes, const uint64_t *off, gk_err *err);
void gk_ranks_free(gk_ranks *r);

/* Enters token id; false when its bytes stand there already. */
bool gk_ranks_add(gk_ranks *r, uint32_t id);

/* Returns the id of these bytes, or GK_NO_RANK. */
uint32_t gk_ranks_find(const gk_ranks *r, const char *bytes, uint64_t len);

/* Appends the ids of one word. Every single byte must be a token. */
bool gk_bpe_word(const gk_ranks *r, const char *word, uint64_t len, gk_ids *out, gk_err *err);

#endif
