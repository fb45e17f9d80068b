/* formats/vocabulary_pre.c - how texts are cut into words, by llama.cpp's names.
 *
 * The patterns are those of the tokenizers that the names stand for (the regexes of
 * Hugging Face's tokenizer.json of Llama 3, Qwen 2, SmolLM, GPT-2, Grok-2), not
 * llama.cpp's rewritings of them for std::regex (src/llama-vocab.cpp, which quotes the
 * originals). What a pattern leaves out is a word too. */
#include "formats/vocabulary_parts.h"

#include <string.h>

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define WORDS        "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define THE_REST     "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

const char gk_v1_pattern[] = CONTRACTIONS WORDS "|\\p{N}" THE_REST;
const char gk_gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"
                               "| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
static const char llama3_pattern[] = CONTRACTIONS WORDS "|\\p{N}{1,3}" THE_REST;

/* Of names with the same patterns the first is given to a vocabulary that has none. */
static const struct pre_row {
    const char *name;
    const char *pattern[GK_MAX_PATTERNS];
    bool ignore_merges, add_bos;
} rows[] = {
    {.name = "grok-2", .pattern = {gk_v1_pattern}},
    {.name = "qwen2", .pattern = {gk_v1_pattern}},
    {.name = "gpt-2", .pattern = {gk_gpt2_pattern}},
    {.name = "smollm", .pattern = {"\\p{N}", gk_gpt2_pattern}},
    {.name = "llama-bpe", .pattern = {llama3_pattern}, .ignore_merges = true, .add_bos = true},
    {.name = "llama3", .pattern = {llama3_pattern}, .ignore_merges = true, .add_bos = true},
    {.name = "llama-v3", .pattern = {llama3_pattern}, .ignore_merges = true, .add_bos = true},
    {.name = "default",
     .pattern = {"[\\p{P}\\$\\+<=>\\^~\\|]+", gk_gpt2_pattern, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

void gk_vocabulary_patterns_of_pre(gk_vocabulary *v)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, v->pre) != 0)
            continue;
        while (v->n_patterns < GK_MAX_PATTERNS && rows[i].pattern[v->n_patterns] != NULL) {
            v->pattern[v->n_patterns] = rows[i].pattern[v->n_patterns];
            v->n_patterns++;
        }
        v->ignore_merges = rows[i].ignore_merges;
        v->add_bos = rows[i].add_bos;
        return;
    }
}

void gk_vocabulary_pre_of_patterns(gk_vocabulary *v)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && v->pre == NULL; i++) {
        unsigned n = 0;
        while (n < v->n_patterns && rows[i].pattern[n] != NULL
               && strcmp(v->pattern[n], rows[i].pattern[n]) == 0)
            n++;
        if (n == v->n_patterns && (n == GK_MAX_PATTERNS || rows[i].pattern[n] == NULL))
            v->pre = rows[i].name;
    }
}
