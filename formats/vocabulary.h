/* formats/vocabulary.h - what the files of a model say about its tokens.
 *
 * Four sources, in this order: the keys tokenizer.* of a GGUF (docs/gguf.md of
 * ggml-org/ggml @d99724f), xAI's tokenizer.tok.json (sglang srt/tokenizer/
 * tiktoken_tokenizer.py @1e950181), Hugging Face's tokenizer.json (tokenizers 0.23), unless
 * it is of a kind that is not read here, and SentencePiece's tokenizer.model (google/
 * sentencepiece src/sentencepiece_model.proto, 0.2). Whatever spelling the file has, the
 * bytes here are those that a token stands for; only SentencePiece's stay spelled. */
#ifndef GK_FORMATS_VOCABULARY_H
#define GK_FORMATS_VOCABULARY_H

#include "formats/catalog.h"
#include "formats/text.h"

#define GK_MAX_TOKENS      (1u << 24)
#define GK_MAX_TOKEN_BYTES 65536
#define GK_MAX_PATTERNS    4
#define GK_NO_TOKEN        UINT32_MAX

typedef enum gk_vocabulary_kind {
    GK_BPE_RANKS,     /* byte level BPE; a token's id is its rank (tiktoken)        */
    GK_BPE_MERGES,    /* byte level BPE with a list of merges (GPT-2, llama.cpp)    */
    GK_SENTENCEPIECE, /* GGUF "llama": bytes are the pieces as spelled (U+2581 for a
                         blank, <0x0A> for a byte), with scores or a list of merges  */
} gk_vocabulary_kind;

typedef enum gk_token_type { /* as ggml numbers them */
                             GK_TOKEN_NORMAL = 1,
                             GK_TOKEN_UNKNOWN,
                             GK_TOKEN_CONTROL,
                             GK_TOKEN_USER_DEFINED,
                             GK_TOKEN_UNUSED,
                             GK_TOKEN_BYTE,
} gk_token_type;

typedef struct gk_token {
    uint64_t off; /* of its bytes in the pool */
    uint32_t len;
    uint8_t type;
    float score; /* 0 unless the file has scores */
} gk_token;

/* left and right, side by side, become the token joined. */
typedef struct gk_merge {
    uint32_t left, right, joined;
} gk_merge;

/* Zero-initialise; owns all it points at. */
typedef struct gk_vocabulary {
    gk_arena *arena;
    const char *file; /* what messages call the source */
    gk_vocabulary_kind kind;
    gk_text pool;
    gk_token *token; /* by id */
    uint64_t n, token_cap;
    gk_merge *merge; /* in the order of the list: the first is done first */
    uint64_t n_merges, merge_cap;
    bool has_merges;     /* the list was in the file, or derived           */
    uint64_t n_unmerged; /* derived: tokens that no merge leads to         */
    bool ignore_merges;  /* a whole word that is a token is taken at once  */

    /* A text is cut by pattern[0], what results by pattern[1], and so on (regexes as the
     * Rust crate reads them). None: the pre-tokenizer's name says nothing to us. */
    const char *pattern[GK_MAX_PATTERNS];
    unsigned n_patterns;
    const char *pre;    /* tokenizer.ggml.pre; NULL: llama.cpp has no name for it */
    const char *cannot; /* why no text can be encoded, NULL when it can           */
    bool is_nfc;        /* texts are made NFC first; below U+0300 they are          */

    /* Of SentencePiece's. */
    bool is_unigram;        /* scores are those of a unigram model, not BPE's order */
    bool add_space_prefix;  /* a blank comes before every text, and behind specials */
    bool prefix_first;      /* only before the first text                           */
    bool prefix_missing;    /* only where no blank stands                           */
    bool has_odd_merges;    /* no scores lead to the same merges                    */
    bool remove_extra_whitespaces;
    const char *charsmap;   /* the normalizer's table, NULL: texts stay as they are */
    uint64_t charsmap_len;

    int64_t bos, eos, unk, pad, sep; /* -1: none */
    bool add_bos, add_eos;
    const char *chat_template; /* Jinja, or NULL */
} gk_vocabulary;

/* Returns whether c has a tokenizer of some kind. Reads nothing. */
bool gk_vocabulary_has(const gk_catalog *c);

/* Reads the vocabulary of c; out->n is 0 when it has none. Free it in any case. False:
 * FORMAT, LIMIT, IO, NOMEM, or UNSUPPORTED for a kind of tokens that is not listed above. */
bool gk_vocabulary_read(const gk_catalog *c, gk_vocabulary *out, gk_err *err);
void gk_vocabulary_free(gk_vocabulary *v);

/* Appends what is wrong with the vocabulary of c: ids that are missing, doubled or beyond
 * the embedding's rows (0: unknown), tokens without bytes, bytes that no token covers. A
 * file that cannot be read at all is a malformed finding. False: NOMEM. */
bool gk_vocabulary_check(const gk_catalog *c, uint64_t embedding_rows, gk_findings *out,
                         gk_err *err);

/* Derives the merges of a vocabulary of ranks, unless it has some: every token of two or
 * more bytes is cut by BPE with lower ranks only, and when two parts remain they are its
 * merge (in order of rank, what llama.cpp's converters do for tiktoken vocabularies). A
 * token that stays in more parts has none; n_unmerged counts them. */
bool gk_vocabulary_merges(gk_vocabulary *v, gk_err *err);

/* Writes a tokenizer.tok.json from which the same tokens are read. False: UNSUPPORTED for
 * what that file cannot say (merges in another order than the ids, more than one pattern,
 * a byte without a token), NOMEM. Types other than normal become special. */
bool gk_vocabulary_tok_json(const gk_vocabulary *v, gk_text *out, gk_err *err);

/* Returns the id of the token of any type but normal with that name, or -1. */
int64_t gk_vocabulary_special(const gk_vocabulary *v, const char *name);

/* The template of a Grok-2 conversation, for a release that brings none: every message is
 * "Human: ", "System: " or "Assistant: ", its content (stripped, but for the assistant),
 * <|separator|> and two newlines; the prompt to generate is "Assistant:". */
extern const char gk_grok2_chat_template[];

#endif
