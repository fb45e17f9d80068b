/* tests/fuzz/libfuzzer.c - the program that `make fuzz` runs: the target is the part of its
 * own name behind "fuzz_". */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);

static const fuzz_target *target;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    const char *name = strstr((*argv)[0], "fuzz_");

    (void)argc;
    target = name == NULL ? NULL : fuzz_find(name + strlen("fuzz_"));
    if (target != NULL)
        return 0;
    fprintf(stderr, "%s: no such target\n", (*argv)[0]);
    return 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (target == NULL)
        return -1;
    target->run(target, data, size);
    return 0;
}

/* Half of the mutations know the format. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
    if (target != NULL && target->mutate != NULL && seed % 2 == 0) {
        const size_t n = target->mutate(data, size, max, seed / 2);
        if (n > 0)
            return n;
    }
    return LLVMFuzzerMutate(data, size, max);
}
