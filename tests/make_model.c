/* tests/make_model.c - writes a seeded model of Grok-2's architecture, of any geometry.
 *
 *   make_model OUT [key=value ...]
 *   hidden layers heads kv_heads head_dim dense moe experts top_k ranks vocab seed
 *   gate=bf16|f32   layout=release|hf   shard=BYTES (hf: largest file) */
#include "tests/model_maker.h"

static const char *const keys[N_KEYS] = {"hidden", "layers", "heads", "kv_heads", "head_dim",
                                         "dense", "moe", "experts", "top_k", "ranks", "vocab",
                                         "seed", "shard", "temperature_len", "original_ctx",
                                         "positions"};
static int layout_hf;

#define N_SPECIALS 8

static void write_hf(tensor *room)
{
    uint64_t n = 0, n_files = 0, used = 0, first = 0;
    char name[64];

    for (int k = 0; k < N_KINDS; k++)
        n += list_kind(&kinds[k], 0, 1, room + n);
    uint64_t *file = malloc(n * sizeof *file);
    if (file == NULL)
        die("no memory");
    for (uint64_t i = 0; i < n; i++) {
        if (used > 0 && (room[i].bytes > geo[SHARD] || used > geo[SHARD] - room[i].bytes)) {
            n_files++;
            used = 0;
        }
        used += room[i].bytes;
        file[i] = n_files;
    }
    n_files++;
    FILE *index = n_files > 1 ? create("model.safetensors.index.json") : NULL;
    uint64_t total = 0;
    for (uint64_t i = 0; i < n; i++)
        total += room[i].bytes;
    if (index != NULL) {
        fprintf(index, "{\"metadata\": {\"total_size\": %" PRIu64 "}, \"weight_map\": {", total);
        for (uint64_t i = 0; i < n; i++)
            fprintf(index, "%s\"%s\": \"model-%05" PRIu64 "-of-%05" PRIu64 ".safetensors\"",
                    i > 0 ? ", " : "", room[i].name, file[i] + 1, n_files);
        fprintf(index, "}}\n");
        close_file(index, "index");
    }
    for (uint64_t i = 0, next; i < n; i = next, first++) {
        for (next = i; next < n && file[next] == first;)
            next++;
        if (n_files > 1)
            snprintf(name, sizeof name, "model-%05u-of-%05u.safetensors", (unsigned)first + 1,
                     (unsigned)n_files);
        else
            snprintf(name, sizeof name, "model.safetensors");
        write_file(name, room + i, next - i);
    }
    free(file);
}

/* Eight specials, the bytes, then all strings of letters and blanks, short ones first. */
static void write_tokenizer(void)
{
    static const char letters[] = "etaoinshrdlucmfwypvbgkjqxz ";
    const unsigned n_letters = sizeof letters - 1;
    FILE *f = create("tokenizer.tok.json");

    fputs("{\"regular_tokens\":[", f);
    uint64_t id = write_single_bytes(f, N_SPECIALS);
    for (unsigned length = 2; id < geo[VOCAB] && length < 8; length++) {
        uint64_t count = 1;
        for (unsigned i = 0; i < length; i++)
            count *= n_letters;
        for (uint64_t k = 0; k < count && id < geo[VOCAB]; k++, id++) {
            char s[8];
            for (unsigned i = 0, rest = (unsigned)k; i < length; i++, rest /= n_letters)
                s[length - 1 - i] = letters[rest % n_letters];
            write_token(f, 0, s, length, id);
        }
    }
    write_specials(f, N_SPECIALS);
    fputs("}", f);
    close_file(f, "tokenizer.tok.json");
}

static void read_arguments(int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        const char *equals = strchr(argv[i], '=');
        int k = 0;
        if (equals == NULL)
            die("'%s': expected key=value", argv[i]);
        const size_t n = (size_t)(equals - argv[i]);
        if (strncmp(argv[i], "gate=", 5) == 0) {
            gate_f32 = strcmp(equals + 1, "f32") == 0;
            continue;
        }
        if (strncmp(argv[i], "layout=", 7) == 0) {
            layout_hf = strcmp(equals + 1, "hf") == 0;
            continue;
        }
        while (k < N_KEYS && (strncmp(argv[i], keys[k], n) != 0 || keys[k][n] != '\0'))
            k++;
        if (k == N_KEYS)
            die("unknown key '%.*s'", (int)n, argv[i]);
        geo[k] = strtoull(equals + 1, NULL, 10);
        if (geo[k] == 0 && k != SEED)
            die("%s must be above 0", keys[k]);
    }
    if (geo[HEADS] % geo[KV_HEADS] != 0 || geo[TOP_K] > geo[EXPERTS] || geo[VOCAB] < 264)
        die("heads must be a multiple of kv_heads, top_k <= experts, vocab >= 264");
    if (geo[MOE] % geo[RANKS] != 0 || geo[RANKS] > 1000)
        die("moe must be a multiple of ranks");
}

int main(int argc, char **argv)
{
    static const uint64_t small[N_KEYS] = {256, 2, 8, 2, 32, 512, 256, 8, 2, 8, 1024, 1,
                                           UINT64_MAX, 64, 256, 4096};

    maker = "make_model";
    memcpy(geo, small, sizeof geo);
    if (argc < 2)
        die("usage: make_model OUT [key=value ...]");
    read_arguments(argc, argv);
    tensor *room = begin_model(argv[1]);
    if (layout_hf)
        write_hf(room);
    else
        write_release(room);
    free(room);
    write_config();
    write_tokenizer();
    return 0;
}
