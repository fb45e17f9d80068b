/* tests/bench/make_release.c - writes a directory of the shape of xai-org/grok-2.
 *
 *   make_release OUT [layers=N] [weights=none|random] [tables=random|none] [seed=N]
 *
 * 39 files of 13,059 stored entries in 18 groups, config.json, an index, and a tokenizer of
 * 131,072 tokens. Without weights (the default) the files have holes for 539,030,994,944
 * bytes: they can be opened and planned with, not computed with. weights=random makes
 * bf16 for so many layers of full width, 8.4 GB each; tables=none leaves holes (zeros) for
 * the embedding and the head, 4.3 GB.
 *
 * The tokenizer is made as BPE makes one: every token of two or more bytes is two tokens
 * of lower rank, which is what merging its bytes by those ranks alone comes to. So each
 * has a merge, and which one follows from the ranks. */
#include "tests/model_maker.h"
#include "tests/ranks.h"

#define N_TOKENS   RANKS_TOKENS
#define N_SPECIALS 128

/* ---- tokens --------------------------------------------------------------------- */

/* Only pieces of one script are joined, as the words of a text are. */
enum script { LATIN, CYRILLIC, HAN, SIGNS, BLANKS, N_SCRIPTS };

typedef struct vocabulary {
    ranks    r; /* of the regular tokens */
    uint8_t  script[N_TOKENS], begins[N_TOKENS]; /* a word, with a blank or a capital letter */
    uint32_t of[N_SCRIPTS][N_TOKENS], n_of[N_SCRIPTS]; /* what may be a part of others */
    uint64_t seed;
} vocabulary;

static void add(vocabulary *v, const unsigned char *s, size_t n, enum script script, int begins)
{
    v->script[v->r.n] = (uint8_t)script;
    v->begins[v->r.n] = begins != 0;
    ranks_add(&v->r, s, n);
}

/* Makes token number `index` one that others are made of. */
static void offer(vocabulary *v, uint32_t index)
{
    const enum script script = v->script[index];

    v->of[script][v->n_of[script]++] = index;
}

/* The single bytes; letters are offered by how often English uses them. */
static void add_bytes(vocabulary *v)
{
    static const char letters[] = "etaoinshrdlucmfwypvbgkjqxzETAOINSHRDLUCMFWYPVBGKJQXZ";
    static const char signs[] = ",.-'\"():;/=_!?*#<>[]{}&%+$@\\|~^`";

    for (int k = 0; k < 256; k++) {
        const unsigned char byte = (unsigned char)k;
        const int letter = byte != 0 && strchr(letters, byte) != NULL;
        add(v, &byte, 1, letter ? LATIN : SIGNS, byte >= 'A' && byte <= 'Z');
    }
    for (const char *c = letters; *c != '\0'; c++)
        offer(v, (unsigned char)*c);
    for (const char *c = signs; *c != '\0'; c++)
        offer(v, (unsigned char)*c);
}

/* Letters of more than one byte: what UTF-8 begins with, then whole letters. */
static void add_letters(vocabulary *v)
{
    unsigned char u[3];

    for (int lead = 0xD0; lead <= 0xD1; lead++)
        for (int last = 0x80; last < 0xC0; last++) {
            u[0] = (unsigned char)lead;
            u[1] = (unsigned char)last;
            add(v, u, 2, CYRILLIC, lead == 0xD0 && last < 0xB0);
            offer(v, v->r.n - 1);
        }
    for (int middle = 0xB8; middle < 0xC0; middle++) {
        u[0] = 0xE4;
        u[1] = (unsigned char)middle;
        add(v, u, 2, HAN, 0);
        for (int last = 0x80; last < 0xC0; last++) {
            u[2] = (unsigned char)last;
            add(v, u, 3, HAN, 0);
            offer(v, v->r.n - 1);
        }
    }
}

/* Runs of one blank, each twice as long as the one before. */
static void add_blanks(vocabulary *v)
{
    unsigned char run[16];

    for (size_t n = 2; n <= sizeof run; n *= 2) {
        memset(run, ' ', n);
        add(v, run, n, BLANKS, 0);
        memset(run, '\n', n);
        add(v, run, n, BLANKS, 0);
    }
}

/* A number below n: the square of a uniform one, so that small ones come often. */
static uint32_t draw(vocabulary *v, uint32_t n)
{
    const uint64_t u = mix(v->seed++) >> 40; /* 24 bits */

    return (uint32_t)((u * u >> 24) * n >> 24);
}

/* Joins two pieces, or as much of them as BPE would join at once. */
static void add_joined(vocabulary *v)
{
    static const enum script often[8] = {LATIN, LATIN, LATIN, LATIN, LATIN, CYRILLIC, HAN, SIGNS};
    const enum script script = often[mix(v->seed++) >> 61];
    const uint32_t left = v->of[script][draw(v, v->n_of[script])];
    const uint32_t right = v->of[script][draw(v, v->n_of[script])];
    /* a quarter of all words get a blank in front */
    const int blank = script != HAN && !v->begins[left] && mix(v->seed++) >> 62 == 0;
    unsigned char s[2 * RANKS_BYTES + 1];
    size_t n = 0, second, third;
    int parts;

    s[n] = ' ';
    n += blank != 0;
    memcpy(s + n, v->r.t[left].bytes, v->r.t[left].len);
    n += v->r.t[left].len;
    const int alone = blank && mix(v->seed++) >> 63 == 0; /* a blank and one piece */
    if (!alone) {
        memcpy(s + n, v->r.t[right].bytes, v->r.t[right].len);
        n += v->r.t[right].len;
    }
    const int begins = blank || v->begins[left];
    /* the longer, the rarer */
    if ((!alone && v->begins[right]) || n > 6 + draw(v, RANKS_BYTES - 5))
        return;
    while ((parts = ranks_merge(&v->r, s, n, &second, &third)) > 2)
        n = third;
    if (parts < 2)
        return; /* it is a token already */
    add(v, s, n, script, begins);
    offer(v, v->r.n - 1);
}

static vocabulary *make_vocabulary(void)
{
    vocabulary *v = calloc(1, sizeof *v);

    if (v == NULL || !ranks_init(&v->r))
        die("no memory");
    v->seed = mix(geo[SEED]);
    add_bytes(v);
    add_letters(v);
    add_blanks(v);
    while (v->r.n < N_TOKENS - N_SPECIALS)
        add_joined(v);
    return v;
}

static void write_tokenizer(void)
{
    vocabulary *v = make_vocabulary();
    FILE *f = create("tokenizer.tok.json");

    fputs("{\"regular_tokens\":[", f);
    uint64_t id = write_single_bytes(f, N_SPECIALS);
    for (uint32_t i = 256; i < v->r.n; i++)
        write_token(f, 0, (const char *)v->r.t[i].bytes, v->r.t[i].len, id++);
    write_specials(f, N_SPECIALS);
    fputs(",\"default_allowed_special\":[", f);
    for (int i = 0; i < N_SPECIALS; i++) {
        fputs(i > 0 ? "," : "", f);
        write_bytes(f, special(i), strlen(special(i)));
    }
    fputs("]}", f);
    close_file(f, "tokenizer.tok.json");
    ranks_free(&v->r);
    free(v);
}

/* ---- the directory ---------------------------------------------------------------- */

/* A name can stand for one file only: of slices, for that of rank 0. */
static void write_index(tensor *room)
{
    FILE *f = create("model.safetensors.index.json");
    uint64_t total = 0;
    int first = 1;
    char file[64];

    for (int k = 0; k < N_KINDS; k++) {
        const uint64_t n = list_kind(&kinds[k], 0, 1, room);
        for (uint64_t i = 0; i < n; i++)
            total += room[i].bytes;
    }
    fprintf(f, "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n  \"weight_map\": {",
            total);
    for (int k = 0; k < N_KINDS; k++) {
        const uint64_t n = list_kind(&kinds[k], 0, 1, room);
        for (uint64_t i = 0; i < n; i++, first = 0)
            fprintf(f, "%s\n    \"%s\": \"%s\"", first ? "" : ",", room[i].name,
                    release_file(k, 0, file));
    }
    fprintf(f, "\n  }\n}\n");
    close_file(f, "the index");
}

/* Whether holes take no room here: 539 GB must not come true. */
static void probe_holes(void)
{
    FILE *f = create("probe");
    struct stat st;
    const int ok = ftruncate(fileno(f), (off_t)1 << 35) == 0 && fstat(fileno(f), &st) == 0
                   && st.st_blocks < 2048;
    char path[4096];

    fclose(f);
    snprintf(path, sizeof path, "%s/probe", out_dir);
    unlink(path);
    if (!ok)
        die("%s: this file system has no holes, or no files of 32 GiB", out_dir);
}

static void read_arguments(int argc, char **argv)
{
    for (int i = 2; i < argc; i++) {
        const char *s = argv[i];
        if (strcmp(s, "weights=none") == 0 || strcmp(s, "weights=random") == 0)
            no_weights = strcmp(s, "weights=none") == 0;
        else if (strcmp(s, "tables=none") == 0 || strcmp(s, "tables=random") == 0)
            no_tables = strcmp(s, "tables=none") == 0;
        else if (strncmp(s, "layers=", 7) == 0 && strtoull(s + 7, NULL, 10) > 0)
            geo[LAYERS] = strtoull(s + 7, NULL, 10);
        else if (strncmp(s, "seed=", 5) == 0)
            geo[SEED] = strtoull(s + 5, NULL, 10);
        else
            die("unknown argument '%s'", s);
    }
}

int main(int argc, char **argv)
{
    /* as SGLang's and others' copies of config.json have it */
    static const uint64_t grok2[N_KEYS] = {
        [HIDDEN] = 8192, [LAYERS] = 64, [HEADS] = 64, [KV_HEADS] = 8, [HEAD_DIM] = 128,
        [DENSE] = 32768, [MOE] = 16384, [EXPERTS] = 8, [TOP_K] = 2, [RANKS] = 8,
        [VOCAB] = N_TOKENS, [SEED] = 1, [TEMPERATURE] = 1024, [ORIGINAL] = 8192,
        [POSITIONS] = 131072};

    maker = "make_release";
    memcpy(geo, grok2, sizeof geo);
    no_weights = 1;
    if (argc < 2)
        die("usage: make_release OUT [layers=N] [weights=none|random] [tables=random|none] "
            "[seed=N]");
    read_arguments(argc, argv);
    tensor *room = begin_model(argv[1]);
    if (no_weights || no_tables)
        probe_holes();
    write_release(room);
    write_index(room);
    free(room);
    write_config();
    write_tokenizer();
    return 0;
}
