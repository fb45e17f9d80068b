/* tests/fuzz/fuzz.h - the parsers that are fuzzed, each a row of one table.
 *
 * A target takes any bytes and hands them to a parser as a stranger's file would: on the
 * disk, through the same calls as a command makes. It aborts when a refusal says nothing;
 * everything else is seen by the sanitizers, the time limit and the memory limit. */
#ifndef GK_TESTS_FUZZ_FUZZ_H
#define GK_TESTS_FUZZ_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Changes data, size bytes of room for max, in one place that the format gives a meaning,
 * and keeps the rest in order. Returns the new size, 0: there is no such place. */
typedef size_t fuzz_mutate(uint8_t *data, size_t size, size_t max, uint32_t seed);

typedef struct fuzz_target {
    const char *name;  /* also of its folders of inputs and its dictionary */
    const char *lines; /* the sources whose coverage is its own            */
    void (*run)(const struct fuzz_target *t, const uint8_t *data, size_t size);
    const char *file;    /* what the input is called on the disk */
    fuzz_mutate *mutate; /* NULL: bytes alone                    */
} fuzz_target;

extern const fuzz_target fuzz_targets[]; /* ends with name NULL */

/* Returns the target of that name, or NULL. */
const fuzz_target *fuzz_find(const char *name);

fuzz_mutate fuzz_mutate_safetensors, fuzz_mutate_gguf, fuzz_mutate_pickle, fuzz_mutate_tar;

#endif
