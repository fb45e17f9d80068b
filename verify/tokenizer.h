/* verify/tokenizer.h - tokenizer.tok.json: text to token ids and back.
 *
 * Byte-level BPE as tiktoken does it (openai/tiktoken src/lib.rs @4e71bbe0): special
 * names first, then the words of a regex, then within a word the adjacent pair whose
 * joined bytes have the lowest id, leftmost on ties, until no pair is a token. Nothing
 * is added at either end. The regex is "V1" (sglang srt/tokenizer/
 * tiktoken_tokenizer.py @1e950181) unless the file brings its own. */
#ifndef GK_VERIFY_TOKENIZER_H
#define GK_VERIFY_TOKENIZER_H

#include "formats/finding.h"
#include "formats/text.h"

typedef struct gk_tokenizer gk_tokenizer;

/* Opens a tokenizer; immutable afterwards, encoding from many threads is safe. NULL and
 * *err: FORMAT (what gk_tokenizer_check() would call bad), IO, NOMEM. */
gk_tokenizer *gk_tokenizer_open(const char *path, gk_err *err);
void          gk_tokenizer_close(gk_tokenizer *t);

/* Returns the number of tokens; ids are 0 .. size - 1. */
uint64_t gk_tokenizer_size(const gk_tokenizer *t);

typedef struct gk_ids {
    uint32_t *id;
    uint64_t  n, cap;
} gk_ids;
void gk_ids_free(gk_ids *ids);

/* Appends the ids of len bytes of UTF-8. False: FORMAT with the byte offset of what is
 * no UTF-8, LIMIT (a regex that runs away), NOMEM. */
bool gk_tokenizer_encode(const gk_tokenizer *t, const char *text, uint64_t len, gk_ids *out,
                         gk_err *err);

/* Appends the bytes of n ids. False: ARG for an id that is none. */
bool gk_tokenizer_decode(const gk_tokenizer *t, const uint32_t *id, uint64_t n, gk_text *out,
                         gk_err *err);

/* Appends what is wrong with the file: ids that are missing, doubled or beyond the
 * embedding's rows (0: unknown), tokens without bytes, bytes no token covers. A file
 * that cannot be read at all is a malformed finding. False: NOMEM. */
bool gk_tokenizer_check(const char *path, uint64_t embedding_rows, gk_findings *out, gk_err *err);

#endif
