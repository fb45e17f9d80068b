/* formats/vocabulary_parts.h - what the readers of vocabularies share. Private to formats/. */
#ifndef GK_FORMATS_VOCABULARY_PARTS_H
#define GK_FORMATS_VOCABULARY_PARTS_H

#include "formats/bpe.h"

/* Appends the token of the next id; its bytes are copied. False: LIMIT, NOMEM. */
bool gk_vocabulary_add(gk_vocabulary *v, const char *bytes, uint64_t len, gk_token_type type,
                       float score, gk_err *err);

/* Appends a merge whose sides are spelled side by side, the first len_left bytes being the
 * left one; b indexes v's tokens. False: FORMAT when the sides or what they make are no
 * tokens, LIMIT, NOMEM. */
bool gk_vocabulary_add_merge(gk_vocabulary *v, const gk_bpe *b, const gk_text *spelled,
                             uint64_t len_left, gk_text *scratch, gk_err *err);

/* Makes the spelling of token i its bytes; one that is not of GPT-2's alphabet stays as it
 * is, but unused: no text leads to it. False: NOMEM. */
bool gk_vocabulary_unspell(gk_vocabulary *v, uint64_t i, gk_text *scratch, gk_err *err);

/* Sets v's patterns by the name that llama.cpp has for them, or the name by the patterns. */
void gk_vocabulary_patterns_of_pre(gk_vocabulary *v);
void gk_vocabulary_pre_of_patterns(gk_vocabulary *v);
extern const char gk_v1_pattern[], gk_gpt2_pattern[];

/* The readers. Each sets file, kind, tokens, merges, patterns; of the others what its
 * source knows. The first appends findings, and fills v only when none of them is bad. */
bool gk_vocabulary_from_tok_json(gk_vocabulary *v, const gk_extra *extra, uint64_t embedding_rows,
                                 gk_findings *found, gk_err *err);
bool gk_vocabulary_from_hf(gk_vocabulary *v, const gk_extra *extra, gk_err *err);
bool gk_vocabulary_from_gguf(gk_vocabulary *v, const gk_catalog *c, gk_err *err);

#endif
