/* formats/vocabulary_parts.h - what the readers of vocabularies share. Private to formats/. */
#ifndef GK_FORMATS_VOCABULARY_PARTS_H
#define GK_FORMATS_VOCABULARY_PARTS_H

#include "formats/bpe.h"

#define GK_MAX_HOLES 65536 /* ids without a token */
#define GK_PAD_SCORE (-10000.0f) /* of such an id, as llama.cpp's converter has it */
#define GK_BLANK     "\xE2\x96\x81" /* U+2581, what SentencePiece writes for a blank */

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

/* Makes token i what is given; ids up to it that nobody has are called [PADi] and unused.
 * False: LIMIT, NOMEM. */
bool gk_vocabulary_set(gk_vocabulary *v, uint64_t i, const char *bytes, uint64_t len,
                       gk_token_type type, float score, gk_err *err);

/* Appends [PADi], unused. */
bool gk_vocabulary_add_hole(gk_vocabulary *v, gk_text *scratch, gk_err *err);

/* Returns whether llama.cpp's converter takes a token of that name for a control token
 * whatever else is said of it: <|name|>. */
bool gk_vocabulary_looks_special(const char *name, uint64_t len);

/* Returns a file as a tree, or NULL. */
gk_json *gk_vocabulary_json(gk_arena *a, const gk_extra *extra, gk_err *err);

/* Sets v's patterns by the name that llama.cpp has for them, or the name by the patterns. */
void gk_vocabulary_patterns_of_pre(gk_vocabulary *v);
void gk_vocabulary_pre_of_patterns(gk_vocabulary *v);
extern const char gk_v1_pattern[], gk_gpt2_pattern[];

/* The readers. Each sets file, kind, tokens, merges, patterns; of the others what its
 * source knows. The first appends findings, and fills v only when none of them is bad. */
bool gk_vocabulary_from_tok_json(gk_vocabulary *v, const gk_extra *extra, uint64_t embedding_rows,
                                 gk_findings *found, gk_err *err);
bool gk_vocabulary_from_hf(gk_vocabulary *v, const gk_extra *extra, gk_err *err);
bool gk_vocabulary_from_sentencepiece(gk_vocabulary *v, const gk_catalog *c, const gk_extra *extra,
                                      gk_err *err);
bool gk_vocabulary_from_gguf(gk_vocabulary *v, const gk_catalog *c, gk_err *err);

#endif
