/* verify/tokenizer.h - a model's tokenizer: text to token ids and back.
 *
 * Special names first, then the words of a regex (or of several, one after the other),
 * then within a word BPE: by ranks as tiktoken does it (openai/tiktoken src/lib.rs
 * @4e71bbe0), or by a list of merges as GPT-2, Hugging Face and llama.cpp do. Nothing is
 * added at either end. */
#ifndef GK_VERIFY_TOKENIZER_H
#define GK_VERIFY_TOKENIZER_H

#include "formats/bpe.h"

typedef struct gk_tokenizer gk_tokenizer;

/* Opens the tokenizer of c (formats/vocabulary.h); c may be closed then. Immutable
 * afterwards, encoding from many threads is safe. NULL and *err: ARG when c brings none,
 * FORMAT (what gk_tokenizer_check() would call bad), UNSUPPORTED, LIMIT, IO, NOMEM. */
gk_tokenizer *gk_tokenizer_open(const gk_catalog *c, gk_err *err);
void gk_tokenizer_close(gk_tokenizer *t);

/* Returns the number of tokens; ids are 0 .. size - 1. */
uint64_t gk_tokenizer_size(const gk_tokenizer *t);

/* Returns true and the token that belongs before every text, which llama-perplexity puts
 * at the start of every window; false: none. Encoding does not add it. */
bool gk_tokenizer_bos(const gk_tokenizer *t, uint32_t *id);

/* Appends the ids of len bytes of UTF-8. False: FORMAT with the byte offset of what is
 * no UTF-8, or for a byte that no token covers, LIMIT (a regex that runs away), NOMEM. */
bool gk_tokenizer_encode(const gk_tokenizer *t, const char *text, uint64_t len, gk_ids *out,
                         gk_err *err);

/* Appends the bytes of n ids. False: ARG for an id that is none. */
bool gk_tokenizer_decode(const gk_tokenizer *t, const uint32_t *id, uint64_t n, gk_text *out,
                         gk_err *err);

/* Appends what gk_vocabulary_check() finds. */
bool gk_tokenizer_check(const gk_catalog *c, uint64_t embedding_rows, gk_findings *out,
                        gk_err *err);

#endif
