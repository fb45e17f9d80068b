/* formats/bpe.h - byte pair encoding of one word, by ranks, a list of merges, or scores.
 *
 * A word begins as its single bytes. By ranks, the adjacent pair whose joined bytes are
 * the token of the lowest id is merged, again and again (openai/tiktoken src/lib.rs
 * @4e71bbe0); by merges, the pair that stands first in the list (openai/gpt-2
 * src/encoder.py). Leftmost on ties.
 *
 * Of SentencePiece's pieces a word begins as its characters, the pair whose joined bytes are
 * the piece of the highest score is merged (of a vocabulary with merges: the pair that stands
 * first), and characters that are no piece in the end become their bytes' pieces, <0x00> ..
 * <0xFF> (ggml-org/llama.cpp src/llama-vocab.cpp, llm_tokenizer_spm). */
#ifndef GK_FORMATS_BPE_H
#define GK_FORMATS_BPE_H

#include "formats/vocabulary.h"

typedef struct gk_ids {
    uint32_t *id;
    uint64_t n, cap;
} gk_ids;

/* Appends id. False: NOMEM. */
bool gk_ids_add(gk_ids *ids, uint32_t id, gk_err *err);
void gk_ids_free(gk_ids *ids);

/* Two hash tables over a vocabulary that must outlive them. */
typedef struct gk_bpe {
    const gk_vocabulary *v;
    uint32_t *slot; /* by bytes: id + 1, 0 is free                 */
    uint64_t n_slots;
    uint32_t *pair; /* by left and right: index of the merge + 1   */
    uint64_t n_pairs;
    uint32_t *rank;     /* of pieces: by id, 0 has the highest score; equal ones are equal */
    uint32_t byte[256]; /* the token of a single byte, GK_NO_TOKEN */
} gk_bpe;

/* Indexes v; of a merges vocabulary also tokens that are not normal, after those that are.
 * False: FORMAT for two normal tokens (of pieces: any two) with the same bytes, NOMEM. Free
 * it in any case. */
bool gk_bpe_init(gk_bpe *b, const gk_vocabulary *v, gk_err *err);
void gk_bpe_free(gk_bpe *b);

/* Returns the token of these bytes, or GK_NO_TOKEN. */
uint32_t gk_bpe_find(const gk_bpe *b, const char *bytes, uint64_t len);

/* Appends the ids of one word. False: FORMAT for a byte without a token, LIMIT, NOMEM. */
bool gk_bpe_word(const gk_bpe *b, const char *word, uint64_t len, gk_ids *out, gk_err *err);

/* The same, only with merges of rank < below, and never the whole word at once. */
bool gk_bpe_merge(const gk_bpe *b, const char *word, uint64_t len, uint32_t below, gk_ids *out,
                  gk_err *err);

#endif
