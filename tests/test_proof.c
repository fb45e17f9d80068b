/* tests/test_proof.c - lists of digests and signatures, written by other people's software. */
#include "tests/disk.h"

#include "formats/lfs.h"
#include "formats/xxh64.h"
#include "quant/model.h"
#include "verify/checks.h"
#include "verify/signature.h"

#define WORK   "build/tmp/test_proof"
#define MODEL  WORK "/model"
#define PROOF  "testdata/proof"
#define COMMIT "0123456789abcdef0123456789abcdef01234567"

/* A model and what its lists say of it. */
typedef struct audit {
    gk_catalog *c;
    gk_sums sums;
    uint64_t n_equal;
} audit;

static void begin(audit *a, const char *path)
{
    gk_err err = {0};

    *a = (audit){.c = gk_model_open(path, &err)};
    assert_ok(a->c != NULL, err);
    assert_ok(gk_sums_init(&a->sums, &err), err);
}

static void judge(audit *a)
{
    const gk_check_options o = {.values = true, .sums = &a->sums, .threads = 2};
    gk_err err = {0};

    assert_ok(gk_checks_run(a->c, &o, &err), err);
    for (uint64_t i = 0; i < a->sums.n; i++)
        a->n_equal += a->sums.row[i].expected[0] != '\0' && gk_sum_holds(&a->sums.row[i]);
}

static void end(audit *a)
{
    gk_sums_free(&a->sums);
    gk_catalog_close(a->c);
}

static const gk_finding *find(const audit *a, gk_severity severity, const char *file,
                              const char *text)
{
    for (uint64_t i = 0; i < a->c->findings.n; i++) {
        const gk_finding *f = &a->c->findings.row[i];
        if (f->severity == severity && strcmp(f->file, file) == 0 && strstr(f->text, text) != NULL)
            return f;
    }
    return NULL;
}

static void expect(const audit *a, gk_severity severity, const char *file, const char *text)
{
    if (find(a, severity, file, text) != NULL)
        return;
    for (uint64_t i = 0; i < a->c->findings.n; i++)
        print_message("  %s | %s | %s\n", a->c->findings.row[i].check, a->c->findings.row[i].file,
                      a->c->findings.row[i].text);
    fail_msg("no finding of %s says '%s'", file, text);
}

static uint64_t n_worse(const audit *a)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < a->c->findings.n; i++)
        n += a->c->findings.row[i].severity == GK_BAD;
    return n;
}

static void copy(const char *from, const char *to)
{
    size_t n;
    unsigned char *bytes = read_bytes(from, &n);

    write_bytes(to, bytes, n);
    free(bytes);
}

static void change(const char *path, long at)
{
    size_t n;
    unsigned char *bytes = read_bytes(path, &n);

    bytes[at < 0 ? (long)n + at : at] ^= 1;
    write_bytes(path, bytes, n);
    free(bytes);
}

static void fresh_model(void)
{
    fresh_dir(MODEL);
    assert_int_equal(mkdir(MODEL "/notes", 0777), 0);
    copy(PROOF "/model/model.safetensors", MODEL "/model.safetensors");
    copy(PROOF "/model/README.md", MODEL "/README.md");
    copy(PROOF "/model/notes/a.txt", MODEL "/notes/a.txt");
}

/* ---- checksums ---------------------------------------------------------------------- */

/* Byte i is 7 i + 3; values of the package xxhash. Whole and in pieces of every length. */
static void xxh64_is_that_of_others(void **state)
{
    static const struct {
        uint64_t n, want;
    } row[] = {
        {0, UINT64_C(0xEF46DB3751D8E999)},   {1, UINT64_C(0x1F25C8D0BC1F4BB6)},
        {3, UINT64_C(0x31D2363F52E564C9)},   {4, UINT64_C(0x9BB64B7D66EE9FDA)},
        {7, UINT64_C(0x9A7B149959CE60D8)},   {8, UINT64_C(0xDAB99D95C6F90092)},
        {12, UINT64_C(0xD52E407833AF5133)},  {31, UINT64_C(0xA2AA5F33CC4A6119)},
        {32, UINT64_C(0x23C3C17EF790FD97)},  {33, UINT64_C(0x50A7CFC7BA588784)},
        {63, UINT64_C(0x5E3E54B431C7493C)},  {64, UINT64_C(0x0EB64B3EF6EEB01F)},
        {100, UINT64_C(0xA61F8D4C170FE531)}, {1000, UINT64_C(0x5F235FA033F1A3FB)},
    };
    unsigned char bytes[1000];

    (void)state;
    for (int i = 0; i < 1000; i++)
        bytes[i] = (unsigned char)(7 * i + 3);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        for (uint64_t step = 1; step <= 70; step++) {
            gk_xxh64 x;
            gk_xxh64_begin(&x);
            for (uint64_t at = 0; at < row[i].n; at += step)
                gk_xxh64_add(&x, bytes + at, at + step < row[i].n ? step : row[i].n - at);
            assert_true(gk_xxh64_end(&x) == row[i].want);
        }
}

/* ---- Hugging Face ------------------------------------------------------------------- */

static void download(void)
{
    fresh_model();
    fresh_dir(MODEL "/.cache/huggingface/download/notes");
    copy(PROOF "/download/model.safetensors.metadata",
         MODEL "/.cache/huggingface/download/model.safetensors.metadata");
    copy(PROOF "/download/README.md.metadata",
         MODEL "/.cache/huggingface/download/README.md.metadata");
    copy(PROOF "/download/notes/a.txt.metadata",
         MODEL "/.cache/huggingface/download/notes/a.txt.metadata");
}

static void a_download_is_proven_by_its_metadata(void **state)
{
    audit a;
    gk_err err = {0};

    (void)state;
    download();
    begin(&a, MODEL);
    assert_ok(gk_sums_find(a.c, &a.sums, &err), err);
    judge(&a);
    assert_int_equal(a.sums.n, 3);
    assert_int_equal(a.n_equal, 3);
    assert_int_equal(n_worse(&a), 0);
    for (uint64_t i = 0; i < a.sums.n; i++)
        assert_string_equal(a.sums.row[i].source, "Hugging Face at commit " COMMIT);
    end(&a);
}

/* One bit in each file in turn; those of the small ones are hashed as git does. */
static void a_changed_file_of_a_download_is_named(void **state)
{
    static const char *const names[] = {"model.safetensors", "README.md", "notes/a.txt"};

    (void)state;
    for (int i = 0; i < 3; i++) {
        audit a;
        gk_err err = {0};
        download();
        change(path_of(MODEL "/%s", names[i]), -1);
        begin(&a, MODEL);
        assert_ok(gk_sums_find(a.c, &a.sums, &err), err);
        judge(&a);
        assert_int_equal(a.n_equal, 2);
        assert_int_equal(n_worse(&a), 1);
        expect(&a, GK_BAD, names[i], "checksum mismatch");
        end(&a);
    }
}

static void a_missing_file_of_a_download_is_named(void **state)
{
    audit a;
    gk_err err = {0};

    (void)state;
    download();
    unlink(MODEL "/README.md");
    write_text(MODEL "/.cache/huggingface/download/abc=.e60e4814f79a0a3e4af655754f7d88c6ac218099"
                     ".incomplete",
               "half");
    write_text(MODEL "/mine.txt", "mine");
    begin(&a, MODEL);
    assert_ok(gk_sums_find(a.c, &a.sums, &err), err);
    judge(&a);
    expect(&a, GK_BAD, "README.md", "missing or unreadable");
    expect(&a, GK_WARN, "abc=.e60e4814f79a0a3e4af655754f7d88c6ac218099.incomplete",
           "an unfinished download of 4 bytes");
    expect(&a, GK_NOTE, "", "no list names 1 of 1 other files");
    end(&a);
}

static void metadata_that_says_nothing_is_said(void **state)
{
    static const struct {
        const char *text, *finding;
        gk_severity severity;
    } row[] = {{"", "is unreadable", GK_WARN},
               {COMMIT, "is unreadable", GK_WARN},
               {COMMIT "\nno-digest\n1.5\n", "an ETag that is no digest", GK_NOTE},
               {COMMIT "\n0123456789\n1.5\n", "an ETag that is no digest", GK_NOTE}};

    (void)state;
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        audit a;
        gk_err err = {0};
        download();
        write_text(MODEL "/.cache/huggingface/download/README.md.metadata", row[i].text);
        begin(&a, MODEL);
        assert_ok(gk_sums_find(a.c, &a.sums, &err), err);
        judge(&a);
        assert_int_equal(a.n_equal, 2);
        expect(&a, row[i].severity, "README.md", row[i].finding);
        end(&a);
    }
}

/* models--x/{refs/main, blobs/ETAG, snapshots/COMMIT/name -> ../../blobs/ETAG} */
static void make_cache(void)
{
    static const char *const names[][2] = {
        {"model.safetensors", NULL}, {"README.md", "e60e4814f79a0a3e4af655754f7d88c6ac218062"}};
    char sha256[GK_SHA256_HEX];
    size_t n;

    fresh_dir(WORK "/models--a--b/blobs");
    fresh_dir(WORK "/models--a--b/refs");
    fresh_dir(WORK "/models--a--b/snapshots/" COMMIT);
    write_text(WORK "/models--a--b/refs/main", COMMIT);
    /* the ETag that the downloader noted */
    char *text = (char *)read_bytes(PROOF "/download/model.safetensors.metadata", &n);
    memcpy(sha256, strchr(text, '\n') + 1, 64);
    sha256[64] = '\0';
    free(text);
    for (int i = 0; i < 2; i++) {
        const char *blob = names[i][1] != NULL ? names[i][1] : sha256;
        copy(path_of(PROOF "/model/%s", names[i][0]), path_of(WORK "/models--a--b/blobs/%s", blob));
        assert_int_equal(
            symlink(path_of("../../blobs/%s", blob),
                    path_of(WORK "/models--a--b/snapshots/" COMMIT "/%s", names[i][0])),
            0);
    }
}

static void blobs_of_a_cache_are_what_they_are_called(void **state)
{
    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        audit a;
        gk_err err = {0};
        make_cache();
        if (damaged)
            change(WORK "/models--a--b/blobs/e60e4814f79a0a3e4af655754f7d88c6ac218062", 0);
        begin(&a, WORK "/models--a--b");
        assert_ok(gk_sums_find(a.c, &a.sums, &err), err);
        judge(&a);
        assert_int_equal(a.sums.n, 2);
        assert_int_equal(a.n_equal, 2 - damaged);
        assert_string_equal(a.sums.row[0].source, "Hugging Face (cache) at commit " COMMIT);
        assert_int_equal(n_worse(&a), damaged);
        end(&a);
    }
}

/* ---- pointers ----------------------------------------------------------------------- */

static const char pointer[] = "version https://git-lfs.github.com/spec/v1\n"
                              "oid sha256:%s\nsize %d\n";

static void a_pointer_is_named_and_proves_a_download(void **state)
{
    audit a;
    gk_err err = {0};
    char text[300], sha256[GK_SHA256_HEX];
    size_t n;

    (void)state;
    fresh_model();
    fresh_dir(WORK "/clone");
    char *line = (char *)read_bytes(PROOF "/download/model.safetensors.metadata", &n);
    memcpy(sha256, strchr(line, '\n') + 1, 64);
    sha256[64] = '\0';
    free(line);
    for (int wrong = 0; wrong < 2; wrong++) {
        snprintf(text, sizeof text, pointer, sha256, 208 + wrong);
        write_text(WORK "/clone/model.safetensors", text);
        begin(&a, MODEL);
        assert_ok(gk_sums_read(a.c, WORK "/clone", true, &a.sums, &err), err);
        judge(&a);
        assert_int_equal(a.sums.n, 1);
        assert_int_equal(a.n_equal, 1 - wrong);
        end(&a);
    }
    assert_null(gk_model_open_whole(WORK "/clone", &err));
    assert_non_null(strstr(err.msg, "a Git LFS pointer in the place of the weights: it stands for "
                                    "a file of 209 bytes"));
}

static void what_looks_like_a_pointer_is_none(void **state)
{
    static const char *const texts[] = {
        "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 3\n",
        "version https://git-lfs.github.com/spec/v1\nsize 3\n",
        "version https://git-lfs.github.com/spec/v2\noid sha256:"
        "0000000000000000000000000000000000000000000000000000000000000000\nsize 3\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:"
        "0000000000000000000000000000000000000000000000000000000000000000\nsize -3\n",
        "version https://git-lfs.github.com/spec/v1\noid sha256:"
        "0000000000000000000000000000000000000000000000000000000000000000\nsize "
        "99999999999999999999999\n",
    };

    (void)state;
    fresh_dir(WORK);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        gk_err err = {0};
        gk_lfs_pointer p;
        gk_arena *arena = gk_arena_new(&err);
        write_text(WORK "/pointer", texts[i]);
        gk_file *f = gk_file_open(arena, WORK "/pointer", &err);
        assert_ok(f != NULL, err);
        assert_false(gk_lfs_pointer_read(f, &p));
        gk_file_close(f);
        gk_arena_free(arena);
    }
}

/* ---- llama-gguf-hash ---------------------------------------------------------------- */

/* The tool's own lines (llama.cpp b8146), with --all --uuid. */
static void manifests_of_llama_cpp_hold(void **state)
{
    size_t n;
    char *text = (char *)read_bytes(PROOF "/grok.gguf.manifest", &n);

    (void)state;
    for (int damaged = 0; damaged < 2; damaged++) {
        audit a;
        gk_err err = {0};
        begin(&a, "testdata/gguf/grok.gguf");
        char *lines = strdup(text);
        /* a digit of the second line, an sha1 of the first tensor */
        if (damaged)
            strchr(lines, '\n')[20] ^= 1;
        assert_ok(gk_sums_parse(a.c, lines, "m", true, &a.sums, &err), err);
        free(lines);
        judge(&a);
        assert_int_equal(a.sums.n, 57);
        assert_int_equal(a.n_equal, 57 - damaged);
        end(&a);
    }
    free(text);
}

/* ---- signatures --------------------------------------------------------------------- */

typedef struct vector {
    const char *file, *key, *trusted, *finding; /* NULL: it holds */
} vector;

static const vector vectors[] = {
    {"p256.sig", "p256.pub", NULL, NULL},
    {"p384.sig", "p384.pub", NULL, NULL},
    {"p521.sig", "p521.pub", NULL, NULL},
    {"shards.sig", "p256.pub", NULL, NULL},
    {"certificate.sig", NULL, "root.crt", NULL},
    {"code.sig", NULL, "root.crt", NULL},
    {"certificate.sig", "p256.pub", NULL, NULL}, /* the key of the certificate */
    {"p256.sig", "p384.pub", NULL, "made with another key"},
    {"bad_payload.sig", "p256.pub", NULL, "was changed"},
    {"bad_signature.sig", "p256.pub", NULL, "was changed"},
    {"bad_usage.sig", NULL, "root.crt", "is not one for signatures"},
    {"certificate.sig", NULL, "other.crt", "is not trusted"},
    {"p256.sig", NULL, "root.crt", "names no certificate"},
};

static bool read_signature(audit *a, const vector *v, gk_err *err)
{
    const gk_signature g = {
        .path = path_of(PROOF "/%s", v->file),
        .public_key = v->key == NULL ? NULL : path_of(PROOF "/%s", v->key),
        .trusted = v->trusted == NULL ? NULL : path_of(PROOF "/%s", v->trusted),
    };

    return gk_signature_read(a->c, &g, &a->sums, err);
}

static void signatures_hold_or_do_not(void **state)
{
    (void)state;
    fresh_model();
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        audit a;
        gk_err err = {0};
        begin(&a, MODEL);
        assert_ok(read_signature(&a, &vectors[i], &err), err);
        judge(&a);
        if (vectors[i].finding != NULL) {
            expect(&a, GK_BAD, vectors[i].file, vectors[i].finding);
            assert_int_equal(a.sums.n, 0);
        } else {
            assert_true(a.sums.n >= 3);
            assert_int_equal(a.n_equal, a.sums.n);
            assert_int_equal(n_worse(&a), 0);
        }
        end(&a);
    }
}

/* Every byte of every file is under a signature, by files and by shards of 100 bytes. */
static void a_changed_byte_breaks_a_signature(void **state)
{
    static const char *const names[] = {"model.safetensors", "README.md", "notes/a.txt"};

    (void)state;
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < 3; i++) {
            audit a;
            gk_err err = {0};
            fresh_model();
            change(path_of(MODEL "/%s", names[i]), -1);
            begin(&a, MODEL);
            assert_ok(read_signature(&a, &vectors[s == 0 ? 0 : 3], &err), err);
            judge(&a);
            assert_int_equal(n_worse(&a), 1);
            expect(&a, GK_BAD, names[i], "checksum mismatch");
            end(&a);
        }
}

static void files_more_or_fewer_break_a_signature(void **state)
{
    (void)state;
    for (int s = 0; s < 2; s++) {
        audit a;
        gk_err err = {0};
        fresh_model();
        write_text(MODEL "/notes/b.txt", "new");
        write_text(MODEL "/.gitignore", "git's own");
        link_one(PROOF "/model/README.md", MODEL "/link");
        unlink(MODEL "/README.md");
        /* longer than its shards say */
        size_t n;
        char *bytes = (char *)read_bytes(MODEL "/notes/a.txt", &n);
        write_text(MODEL "/notes/a.txt", path_of("%sx", bytes));
        free(bytes);
        begin(&a, MODEL);
        assert_ok(read_signature(&a, &vectors[s == 0 ? 0 : 3], &err), err);
        judge(&a);
        expect(&a, GK_BAD, "notes/b.txt", "not signed");
        expect(&a, GK_BAD, "link", "a link, and");
        expect(&a, GK_BAD, "README.md", "missing or unreadable");
        expect(&a, GK_BAD, "notes/a.txt", s == 0 ? "checksum mismatch" : "only 6 are signed");
        assert_int_equal(n_worse(&a), 4);
        end(&a);
    }
}

/* Cut anywhere and with any byte changed, a bundle is refused or does not hold. */
static void no_damaged_bundle_holds(void **state)
{
    size_t n;
    unsigned char *bytes = read_bytes(PROOF "/p256.sig", &n);
    const gk_signature g = {.path = WORK "/damaged.sig", .public_key = PROOF "/p256.pub"};

    (void)state;
    fresh_model();
    /* outside the signature, the payload and their names nothing is signed */
    const char *from = strstr((char *)bytes, "\"payload\""), *to = strstr(from, "\"payloadType\"");
    for (size_t i = 0; i < n; i += 7)
        for (int cut = 0; cut < 2; cut++) {
            audit a;
            gk_err err = {0};
            const bool inside = bytes + i > (const unsigned char *)from + 12
                                && bytes + i < (const unsigned char *)to - 4;
            if (cut == 0 && !inside)
                continue;
            bytes[i] ^= 2;
            write_bytes(WORK "/damaged.sig", bytes, cut ? i : n);
            bytes[i] ^= 2;
            begin(&a, MODEL);
            if (gk_signature_read(a.c, &g, &a.sums, &err) && n_worse(&a) == 0)
                fail_msg("%s at byte %zu: still holds", cut ? "cut" : "changed", i);
            end(&a);
        }
    free(bytes);
}

static void what_is_signed_here_holds_here(void **state)
{
    audit a;
    gk_err err = {0};
    gk_text bundle = {0};
    const gk_signature g = {.path = MODEL "/own.sig", .public_key = PROOF "/p256.pub"};

    (void)state;
    fresh_model();
    begin(&a, MODEL);
    assert_ok(gk_signature_list(a.c, g.path, &a.sums, &err), err);
    judge(&a);
    assert_int_equal(a.sums.n, 3);
    assert_false(gk_signature_make(a.c, PROOF "/p256.pub", &a.sums, &bundle, &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    err = (gk_err){0};
    assert_ok(gk_signature_make(a.c, PROOF "/p256.pem", &a.sums, &bundle, &err), err);
    write_bytes(g.path, bundle.data, bundle.len);
    gk_text_free(&bundle);
    end(&a);
    begin(&a, MODEL);
    assert_ok(gk_signature_read(a.c, &g, &a.sums, &err), err);
    judge(&a);
    assert_int_equal(a.n_equal, 3);
    assert_int_equal(n_worse(&a), 0);
    end(&a);
}

/* ---- memory ------------------------------------------------------------------------- */

/* Everything above, once; false with NOMEM when an allocation fails. */
static bool prove_all(gk_err *err)
{
    gk_catalog *c = gk_model_open(MODEL, err);
    gk_sums s = {0};
    gk_text bundle = {0};
    const gk_signature g = {.path = PROOF "/certificate.sig", .trusted = PROOF "/root.crt",
                            .ignore_unsigned = false};
    const gk_check_options o = {.values = true, .sums = &s, .threads = 1};
    bool ok = c != NULL && gk_sums_init(&s, err) && gk_signature_read(c, &g, &s, err)
              && gk_sums_find(c, &s, err) && gk_checks_run(c, &o, err);

    gk_sums_free(&s);
    ok = ok && gk_sums_init(&s, err) && gk_signature_list(c, WORK "/none.sig", &s, err)
         && gk_checks_run(c, &o, err)
         && gk_signature_make(c, PROOF "/p256.pem", &s, &bundle, err);
    gk_text_free(&bundle);
    gk_sums_free(&s);
    gk_catalog_close(c);
    return ok;
}

static void an_end_of_memory_is_an_error(void **state)
{
    gk_err err = {0};

    (void)state;
    download();
    gk_alloc_fail_after(-1);
    assert_ok(prove_all(&err), err);
    const uint64_t points = gk_alloc_fail_after(-1);
    assert_true(points > 100);
    for (uint64_t n = 0; n < points; n++) {
        err = (gk_err){0};
        gk_alloc_fail_after((int64_t)n);
        const bool ok = prove_all(&err);
        gk_alloc_fail_after(-1);
        if (ok || err.code != GK_ERR_NOMEM)
            fail_msg("allocation %d of %d: %s, code %d: %s", (int)n, (int)points,
                     ok ? "success" : "failure", (int)err.code, err.msg);
    }
    print_message("%d allocations, each failed once\n", (int)points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(xxh64_is_that_of_others),
        cmocka_unit_test(a_download_is_proven_by_its_metadata),
        cmocka_unit_test(a_changed_file_of_a_download_is_named),
        cmocka_unit_test(a_missing_file_of_a_download_is_named),
        cmocka_unit_test(metadata_that_says_nothing_is_said),
        cmocka_unit_test(blobs_of_a_cache_are_what_they_are_called),
        cmocka_unit_test(a_pointer_is_named_and_proves_a_download),
        cmocka_unit_test(what_looks_like_a_pointer_is_none),
        cmocka_unit_test(manifests_of_llama_cpp_hold),
        cmocka_unit_test(signatures_hold_or_do_not),
        cmocka_unit_test(a_changed_byte_breaks_a_signature),
        cmocka_unit_test(files_more_or_fewer_break_a_signature),
        cmocka_unit_test(no_damaged_bundle_holds),
        cmocka_unit_test(what_is_signed_here_holds_here),
        cmocka_unit_test(an_end_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
