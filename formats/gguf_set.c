/* formats/gguf_set.c - which files make one GGUF model: a single file, or a split set
 *
 *   PREFIX-00001-of-00003.gguf   all keys of the model, split.no 0
 *   PREFIX-00002-of-00003.gguf   tensors, split.no 1
 *   PREFIX-00003-of-00003.gguf
 *
 * with split.count 3 and split.tensors.count in each. Each is a whole GGUF with its own
 * tensor infos. Source: ggml-org/llama.cpp src/llama-model-loader.cpp, tools/gguf-split
 * @007dbbf; as there, the model is opened by its first file. A part that is missing or
 * says something else of itself is a finding. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "formats/gguf.h"
#include "formats/reader.h"

#define SUFFIX    ".gguf"
#define MAX_PARTS 65535u /* split.count is a u16 */

typedef struct set {
    gk_catalog *c;
    gk_source folder;    /* where the parts are */
    const char *first;   /* the name of the file that is opened */
    const gk_gguf *keys; /* its keys */
    uint64_t n_parts, n_usable;
    gk_err *err;
} set;

/* ---- file names ------------------------------------------------------------------ */

/* The tail "-00001-of-00003.gguf" of a name. */
typedef struct tail {
    int prefix; /* length of what stands before */
    unsigned no, count;
} tail;

static bool take_five(const char *s, unsigned *out)
{
    *out = 0;
    for (int i = 0; i < 5; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        *out = *out * 10 + (unsigned)(s[i] - '0');
    }
    return true;
}

static bool tail_of(const char *name, tail *t)
{
    const size_t len = strlen(name), tail_len = strlen("-00001-of-00003" SUFFIX);

    if (len < tail_len || len > INT32_MAX)
        return false;
    const char *s = name + len - tail_len;
    t->prefix = (int)(s - name);
    return s[0] == '-' && take_five(s + 1, &t->no) && strncmp(s + 6, "-of-", 4) == 0
           && take_five(s + 10, &t->count) && strcmp(s + 15, SUFFIX) == 0;
}

static char *part_name(const set *s, int prefix, uint64_t no)
{
    return gk_arena_printf(s->c->arena, s->err, "%.*s-%05" PRIu64 "-of-%05" PRIu64 SUFFIX, prefix,
                           s->first, no, s->n_parts);
}

/* ---- what is there --------------------------------------------------------------- */

static bool gguf_is(const gk_source *s)
{
    unsigned char magic[4];
    bool any = false;

    if (!s->is_dir)
        return gk_ends_with(s->path, SUFFIX)
               || ((s->member != NULL || gk_path_kind_of(s->path) == GK_PATH_FILE)
                   && gk_source_head(s, magic, 4) && memcmp(magic, "GGUF", 4) == 0);
    for (uint64_t i = 0; i < s->n_names; i++) {
        any |= gk_ends_with(s->name[i], SUFFIX);
        if (gk_ends_with(s->name[i], ".safetensors"))
            return false;
    }
    return any && s->index == NULL;
}

/* Finds the one model of a directory: a single file, or the first of a set. */
static bool pick(set *s)
{
    const char *some = "";
    uint64_t n = 0;
    tail t;

    for (uint64_t i = 0; i < s->folder.n_names; i++) {
        if (!gk_ends_with(s->folder.name[i], SUFFIX))
            continue;
        some = s->folder.name[i];
        if (tail_of(some, &t) && t.no != 1)
            continue;
        s->first = some;
        n++;
    }
    if (n == 1)
        return true;
    if (n == 0)
        gk_fail(s->err, GK_ERR_FORMAT, GK_NO_OFF,
                "missing: the first part of this split model, whose name has -00001-of-, is not "
                "here (the download is incomplete)");
    else
        gk_fail(s->err, GK_ERR_ARG, GK_NO_OFF,
                "%" PRIu64 " GGUF models in this directory: name one of the files", n);
    return gk_fail_at(s->err, n == 0 ? some : s->folder.path, NULL);
}

/* ---- parts ----------------------------------------------------------------------- */

static bool say(set *s, const char *file, const char *text)
{
    return gk_findings_addf(&s->c->findings, "split", GK_BAD, file, NULL, s->err, "%s", text);
}

static bool load(set *s, const char *name, bool *usable)
{
    const uint64_t n = s->c->n_inputs;

    if (!gk_input_load(s->c, &s->folder, name, -1, gk_gguf_read, s->err))
        return false;
    *usable = s->c->n_inputs > n && s->c->input[n].usable;
    s->n_usable += *usable;
    return true;
}

/* What a later part says of itself, of which gk_gguf_read() left the keys in the catalog. */
static bool check_part(set *s, const char *name, uint64_t no)
{
    uint64_t own_no = UINT64_MAX, own_count = 0;

    gk_gguf_uint(s->c->gguf, "split.no", &own_no);
    gk_gguf_uint(s->c->gguf, "split.count", &own_count);
    if (own_no == no - 1 && own_count == s->n_parts)
        return true;
    return gk_findings_addf(&s->c->findings, "split", GK_BAD, name, NULL, s->err,
                            "by its name this is part %" PRIu64 " of %" PRIu64
                            ", its keys split.no and split.count say otherwise",
                            no, s->n_parts);
}

/* Parts [from, to) are not there. */
static bool say_missing(set *s, int prefix, uint64_t from, uint64_t to)
{
    const char *name = part_name(s, prefix, from);

    if (name == NULL)
        return false;
    if (to - from == 1)
        return gk_findings_addf(&s->c->findings, "split", GK_BAD, name, NULL, s->err,
                                "missing: part %" PRIu64 " of %" PRIu64
                                " is not there (the download is incomplete)",
                                from, s->n_parts);
    return gk_findings_addf(&s->c->findings, "split", GK_BAD, name, NULL, s->err,
                            "missing: parts %" PRIu64 " to %" PRIu64 " of %" PRIu64
                            " are not there (the download is incomplete)",
                            from, to - 1, s->n_parts);
}

static bool load_parts(set *s, int prefix)
{
    gk_input *input = gk_arena_alloc(s->c->arena, s->n_parts, sizeof *input, s->err);
    uint64_t missing = 0; /* the first of those just passed, 0: none */
    bool usable;

    if (input == NULL)
        return false;
    input[0] = s->c->input[0];
    s->c->input = input;
    for (uint64_t no = 2; no <= s->n_parts + 1; no++) {
        const char *name = no <= s->n_parts ? part_name(s, prefix, no) : "";
        if (name == NULL)
            return false;
        const bool there = no > s->n_parts || gk_source_has(s->c->arena, &s->folder, name);
        if (there && missing > 0 && !say_missing(s, prefix, missing, no))
            return false;
        missing = there ? 0 : missing > 0 ? missing : no;
        if (!there || no > s->n_parts)
            continue;
        if (!load(s, name, &usable) || (usable && !check_part(s, name, no)))
            return false;
    }
    return true;
}

static bool check_total(set *s)
{
    uint64_t total;

    if (s->n_usable < s->n_parts || !gk_gguf_uint(s->keys, "split.tensors.count", &total)
        || total == s->c->n_stored)
        return true;
    return gk_findings_addf(&s->c->findings, "split", GK_BAD, s->first, NULL, s->err,
                            "split.tensors.count is %" PRIu64 ", the parts hold %" PRIu64, total,
                            s->c->n_stored);
}

/* The first file is open: are there more? */
static bool follow(set *s)
{
    uint64_t no = 0, count = 0;
    tail t = {0};
    const bool named = tail_of(s->first, &t);

    s->n_parts = 1;
    gk_gguf_uint(s->keys, "split.no", &no);
    gk_gguf_uint(s->keys, "split.count", &count);
    if (no > 0 && count > 1) {
        s->n_parts = count;
        const char *first = named ? part_name(s, t.prefix, 1) : "the one with -00001-of-";
        if (first == NULL)
            return false;
        gk_fail(s->err, GK_ERR_ARG, GK_NO_OFF,
                "part %" PRIu64 " of %" PRIu64 " of a split model: open its first file, %s", no + 1,
                count, first);
        return gk_fail_at(s->err, s->first, NULL);
    }
    if (count <= 1)
        return (named && t.count > 1)
                   ? gk_findings_addf(&s->c->findings, "split", GK_WARN, s->first, NULL, s->err,
                                      "by its name one of %u parts, but without split.count: "
                                      "taken as the whole model",
                                      t.count)
                   : true;
    if (count > MAX_PARTS) {
        gk_fail(s->err, GK_ERR_LIMIT, GK_NO_OFF,
                "split.count is %" PRIu64 ", at most %u parts are allowed", count, MAX_PARTS);
        return gk_fail_at(s->err, s->first, NULL);
    }
    if (!named || t.no != 1 || t.count != count)
        return say(s, s->first,
                   "its keys say that this is the first part of a split model, its name does not "
                   "(PREFIX-00001-of-00003.gguf), so the other parts cannot be found");
    s->n_parts = count;
    return load_parts(s, t.prefix) && check_total(s);
}

static bool gguf_open(gk_catalog *c, const gk_source *source, gk_err *err)
{
    set s = {.c = c, .folder = *source, .err = err};
    bool usable;

    if (source->is_dir) {
        if (!pick(&s))
            return false;
    } else {
        const char *dir = gk_path_dir(c->arena, source->path, err);
        if (dir == NULL)
            return false;
        if (source->member == NULL)
            s.folder = (gk_source){.path = dir, .is_dir = true};
        s.first = gk_path_base(source->path);
    }
    c->input = gk_arena_alloc(c->arena, 1, sizeof *c->input, err);
    if (c->input == NULL || !load(&s, s.first, &usable))
        return false;
    s.keys = c->gguf;
    if (usable && !follow(&s))
        return false;
    c->gguf = s.keys;
    return gk_gguf_adopt(c, err);
}

const gk_reader gk_reader_gguf = {"gguf", gguf_is, gguf_open};
