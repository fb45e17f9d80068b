/* tests/test_pickle.c - pickles as data: arrays of numpy and JAX, and pickles that lie. */
#include "tests/arrays.h"

#include "formats/pickle.h"

#define DATA  "testdata/pickle"
#define WORK  "build/tmp/test_pickle"
#define ARRAY DATA "/numpy1_f32_p4.pkl"

/* ---- arrays that others wrote ------------------------------------------------------ */

static void arrays_are_what_numpy_and_jax_say(void **state)
{
    char file[64], dtype[16], shape[32], hex[65];
    FILE *golden = fopen(DATA "/golden.txt", "r");
    int n = 0;

    (void)state;
    assert_non_null(golden);
    while (fscanf(golden, "%63s %15s %31s %64s", file, dtype, shape, hex) == 4) {
        gk_catalog *c = open_sound(path_of(DATA "/%s", file));
        assert_int_equal(c->n_tensors, 1);
        file[strlen(file) - 4] = '\0'; /* .pkl */
        assert_tensor(c, file, dtype, shape, hex);
        gk_catalog_close(c);
        n++;
    }
    fclose(golden);
    assert_int_equal(n, 35);
}

/* Longer than the distance of two marks, read from everywhere; the pickle is what Python 3
 * writes with protocol 2, so every byte above 0x7F takes two. */
static void bytes_as_text_are_read_from_any_place(void **state)
{
    (void)state;
    enum { N = 200000 };
    static unsigned char text[2 * N], bytes[N], got[N];
    gk_err err = {0};
    size_t len = 0;
    uint64_t where;
    for (int i = 0; i < N; i++) {
        bytes[i] = (unsigned char)(i * 7 + i / 251);
        if (bytes[i] >= 0x80)
            text[len++] = (unsigned char)(0xC0 | bytes[i] >> 6);
        text[len++] = bytes[i] < 0x80 ? bytes[i] : (unsigned char)(0x80 | (bytes[i] & 0x3F));
    }
    gk_arena *a = gk_arena_new(&err);
    gk_file *f = gk_file_memory(a, "text", (const char *)text, len, &err);
    assert_ok(gk_file_add_text(a, f, 0, len, N, &where, &err), err);
    for (int i = 0; i < 200; i++) {
        const uint64_t at = (uint64_t)i * 997 % N, n = (uint64_t)i * 1009 % (N - at);
        assert_ok(gk_file_read(f, where + at, got, n, &err), err);
        assert_memory_equal(got, bytes + at, n);
    }
    assert_ok(gk_file_read(f, where, got, N, &err), err);
    assert_memory_equal(got, bytes, N);
    assert_false(gk_file_read(f, where + 1, got, N, &err));
    err = (gk_err){0};
    assert_false(gk_file_add_text(a, f, 0, len, N - 1, &where, &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    text[N] = 0xE2; /* a character above U+00FF */
    err = (gk_err){0};
    assert_false(gk_file_add_text(a, f, 0, len, N, &where, &err));
    assert_int_equal(err.code, GK_ERR_FORMAT);
    gk_arena_free(a);
}

static void the_name_does_not_matter(void **state)
{
    (void)state;
    link_one(ARRAY, WORK "/weights");
    gk_catalog *c = open_sound(WORK "/weights");
    assert_string_equal(c->format, "pickle");
    assert_non_null(gk_catalog_find(c, "weights"));
    gk_catalog_close(c);
}

/* ---- the machine alone ------------------------------------------------------------- */

typedef struct pickle {
    gk_arena *arena;
    gk_findings findings;
    const gk_pickled *root; /* NULL: refused, err says why */
    gk_err err;
} pickle;

static const gk_pickle_global known[] = {{"collections", "OrderedDict"}, {NULL, NULL}};

/* Bytes in a buffer of their exact size, so that a sanitizer sees one too many. */
static pickle run(const void *bytes, size_t n, gk_pickle_dialect dialect)
{
    pickle p = {.arena = NULL};
    char *exact = malloc(n > 0 ? n : 1);

    assert_non_null(exact);
    memcpy(exact, bytes, n);
    p.arena = gk_arena_new(&p.err);
    p.findings.arena = p.arena;
    const gk_file *f = gk_file_memory(p.arena, "memory", exact, n, &p.err);
    const gk_pickle_input in = {
        .file = f, .end = n, .dialect = dialect, .known = known, .findings = &p.findings};
    p.root = gk_pickle_read(p.arena, &in, &p.err);
    assert_true((p.root != NULL) == (p.err.code == GK_OK));
    free(exact);
    return p;
}

static void done(pickle *p)
{
    gk_findings_free(&p->findings);
    gk_arena_free(p->arena);
}

typedef struct bad {
    const char *bytes;
    size_t n;
    gk_err_code code;
    uint64_t off;
    const char *word;
} bad;

#define B(text) text, sizeof text - 1
#define F       GK_ERR_FORMAT

static const bad bads[] = {
    {B(""), F, 0, "empty"},
    {B("c"), F, 0, "opcode 0x63"},
    {B("\x80"), F, 0, "truncated: PROTO needs 1 more"},
    {B("\x80\x01N."), F, 0, "protocol 1"},
    {B("\x80\x06N."), F, 0, "protocol 6"},
    {B("\x80\x04\x80\x04N."), F, 2, "PROTO stands first"},
    {B("\x80\x04N"), F, 3, "without STOP"},
    {B("\x80\x04."), F, 2, "0 objects"},
    {B("\x80\x04NN."), F, 4, "2 objects"},
    {B("\x80\x04N(."), F, 4, "1 marks"},
    {B("\x80\x04N.N"), F, 3, "1 trailing bytes after STOP"},
    {B("\x80\x04\x96\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF."), F, 2, "beyond the end of the pickle"},
    {B("\x80\x04X\x00\x00\x00\x40."), F, 2, "length of 1073741824"},
    {B("\x80\x04\x8C\x05"
       "abc."),
     F, 2, "4 are left"},
    {B("\x80\x04\x8C\x01\xFF."), F, 2, "not UTF-8"},
    {B("\x80\x04\x8B\xFF\xFF\xFF\xFF."), F, 2, "opcode 0x8b"},
    {B("\x80\x04\x8A\x09\x01."), F, 2, "LONG1 needs 9"},
    {B("\x80\x04\x95\x09\0\0\0\0\0\0\0N."), F, 2, "FRAME of 9 bytes"},
    {B("\x80\x04\x95\x0B\0\0\0\0\0\0\0N\x95\0\0\0\0\0\0\0\0."), F, 12, "inside a frame"},
    {B("\x80\x04\x95\x02\0\0\0\0\0\0\0K\x01."), F, 13, ""}, /* legal: see below */
    {B("\x80\x04\x95\x01\0\0\0\0\0\0\0K\x01."), F, 11, "left in the frame"},
    {B("\x80\x04K\x01K\x02t."), F, 6, "without a MARK"},
    {B("\x80\x04]K\x01"
       "e."),
     F, 5, "without a MARK"},
    {B("\x80\x04}K\x01K\x02u."), F, 7, "without a MARK"},
    {B("\x80\x04}(K\x01u."), F, 6, "odd number"},
    {B("\x80\x04](K\x01K\x02u."), F, 8, "not a dict"},
    {B("\x80\x04}K\x01"
       "a."),
     F, 5, "not a list"},
    {B("\x80\x04K\x01K\x02\x87."), F, 6, "TUPLE3 needs 3 objects, 2"},
    {B("\x80\x04N(\x85."), F, 4, "TUPLE1 needs 1 objects, 0"},
    {B("\x80\x04R."), F, 2, "REDUCE needs 2"},
    {B("\x80\x04NNR."), F, 4, "no tuple"},
    {B("\x80\x04"
       "b."),
     F, 2, "BUILD needs 1"},
    {B("\x80\x04NNb."), F, 4, "not made by a call"},
    {B("\x80\x04h\x07."), F, 2, "memo entry 7"},
    {B("\x80\x04q\x00N."), F, 2, "empty stack"},
    {B("\x80\x04N0N."), F, 3, "opcode 0x30"},
    {B("\x80\x04N2."), F, 3, "opcode 0x32"},
    {B("\x80\x04\x82\x01."), F, 2, "opcode 0x82"},
    {B("\x80\x05\x97\x98."), F, 2, "opcode 0x97"},
    {B("\x80\x04"
       "cos\nsys"),
     F, 2, "expected a line"},
    {B("\x80\x04"
       "c\nsystem\n."),
     F, 2, "expected a line"},
    {B("\x80\x04"
       "co\x1B[\nx\n."),
     F, 2, "printable"},
    {B("\x80\x04K\x01K\x02\x93."), F, 6, "expected two names"},
    {B("\x80\x02NQ."), F, 3, "opcode 0x51"}, /* a persistent id is PyTorch's */
};

static void what_is_malformed_is_refused_where_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bads / sizeof bads[0]; i++) {
        const bad *b = &bads[i];
        pickle p = run(b->bytes, b->n, GK_PICKLE_NUMPY);
        if (b->word[0] == '\0')
            assert_non_null(p.root);
        else if (p.root != NULL || p.err.code != b->code || p.err.off != b->off
                 || strstr(p.err.msg, b->word) == NULL || strcmp(p.err.file, "memory") != 0)
            fail_msg("row %d: code %d, byte %d: %s\nexpected byte %d: %s", (int)i, p.err.code,
                     (int)p.err.off, p.err.msg, (int)b->off, b->word);
        done(&p);
    }
}

static void objects_are_what_was_written(void **state)
{
    static const char bytes[] = "\x80\x04(K\x07J\xFE\xFF\xFF\xFFM\x01\x02\x8A\x00\x8A\x02\x00\x80"
                                "G\x3F\xF8\0\0\0\0\0\0\x88\x89N\x8C\x02hi\x43\x03"
                                "abc]\x94h\x00"
                                "at.";
    pickle p = run(bytes, sizeof bytes - 1, GK_PICKLE_NUMPY);

    (void)state;
    assert_ok(p.root != NULL, p.err);
    assert_int_equal(p.root->kind, GK_PICKLE_TUPLE);
    assert_int_equal(p.root->n_items, 12);
    const gk_pickled *item[12];
    for (uint64_t i = 0; i < 12; i++)
        item[i] = gk_pickle_item(p.root, i);
    assert_null(gk_pickle_item(p.root, 12));
    assert_int_equal(item[0]->integer, 7);
    assert_int_equal(item[1]->integer, -2);
    assert_int_equal(item[2]->integer, 0x201);
    assert_int_equal(item[3]->integer, 0);
    assert_int_equal(item[4]->integer, -32768);
    assert_true(item[5]->real == 1.5);
    assert_int_equal(item[6]->integer, 1);
    assert_int_equal(item[7]->integer, 0);
    assert_int_equal(item[8]->kind, GK_PICKLE_NONE);
    assert_string_equal(item[9]->text, "hi");
    assert_int_equal(item[10]->kind, GK_PICKLE_BYTES);
    assert_memory_equal(bytes + item[10]->off, "abc", 3);
    assert_ptr_equal(item[11]->first->item[0], item[11]); /* a list that holds itself */
    done(&p);
}

static void a_call_is_a_node_and_a_warning(void **state)
{
    static const char bytes[] = "\x80\x04\x8C\x05posix\x8C\x06system\x93\x8C\x04true\x85R.";
    char says[GK_PICKLE_SAYS];
    pickle p = run(bytes, sizeof bytes - 1, GK_PICKLE_NUMPY);

    (void)state;
    assert_ok(p.root != NULL, p.err);
    assert_true(gk_pickle_is_call(p.root, "posix", "system"));
    gk_pickle_say(p.root, says);
    assert_string_equal(says, "a call of posix.system");
    assert_int_equal(p.findings.n, 1);
    assert_int_equal(p.findings.row[0].severity, GK_WARN);
    assert_int_equal(p.findings.row[0].off, 17);
    assert_non_null(strstr(p.findings.row[0].text, "posix.system"));
    done(&p);
}

static void unknown_globals_are_counted_past_some(void **state)
{
    char bytes[1000] = "\x80\x02(";
    size_t n = 3;

    (void)state;
    for (int i = 0; i < 100; i++, n += 5)
        memcpy(bytes + n, "ca\nb\n", 5);
    memcpy(bytes + n, "t.", 2);
    pickle p = run(bytes, n + 2, GK_PICKLE_TORCH);
    assert_ok(p.root != NULL, p.err);
    assert_int_equal(p.findings.n, 33);
    assert_non_null(strstr(p.findings.row[32].text, "68 more"));
    done(&p);
}

static void torch_has_its_own_set_of_opcodes(void **state)
{
    static const char *const only_numpy[] = {"\x80\x02\x8C\x01x.", "\x80\x02N\x94."};
    pickle p = run("\x80\x02NQ.", 5, GK_PICKLE_TORCH);

    (void)state;
    assert_ok(p.root != NULL, p.err);
    assert_int_equal(p.root->kind, GK_PICKLE_PERSISTENT);
    done(&p);
    for (int i = 0; i < 2; i++) {
        p = run(only_numpy[i], strlen(only_numpy[i]), GK_PICKLE_TORCH);
        assert_null(p.root);
        done(&p);
    }
}

static void a_memo_of_the_highest_index_costs_nothing(void **state)
{
    static const char bytes[] = "\x80\x04Nr\xFF\xFF\xFF\xFFj\xFF\xFF\xFF\xFF\x86.";
    pickle p = run(bytes, sizeof bytes - 1, GK_PICKLE_NUMPY);

    (void)state;
    assert_ok(p.root != NULL, p.err);
    assert_ptr_equal(gk_pickle_item(p.root, 0), gk_pickle_item(p.root, 1));
    done(&p);
}

static void depth_costs_no_stack(void **state)
{
    const size_t n = 1000000;
    char *bytes = malloc(n + 4);

    (void)state;
    assert_non_null(bytes);
    memcpy(bytes, "\x80\x04N", 3);
    memset(bytes + 3, 0x85, n); /* TUPLE1 */
    bytes[n + 3] = '.';
    pickle p = run(bytes, n + 4, GK_PICKLE_NUMPY);
    assert_ok(p.root != NULL, p.err);
    done(&p);
    free(bytes);
}

static void the_number_of_objects_has_a_limit(void **state)
{
    const size_t n = GK_MAX_PICKLE_NODES + 1;
    char *bytes = malloc(n + 3);

    (void)state;
    assert_non_null(bytes);
    memcpy(bytes, "\x80\x04", 2);
    memset(bytes + 2, 'N', n);
    bytes[n + 2] = '.';
    pickle p = run(bytes, n + 3, GK_PICKLE_NUMPY);
    assert_null(p.root);
    assert_int_equal(p.err.code, GK_ERR_LIMIT);
    assert_int_equal(p.err.off, n + 1);
    assert_non_null(strstr(p.err.msg, "4000000"));
    done(&p);
    free(bytes);
}

/* ---- damage ------------------------------------------------------------------------- */

static const char *const whole[] = {DATA "/numpy1_f32_f_p3.pkl", DATA "/numpy1_u8_f_p4.pkl",
                                    DATA "/numpy1_bf16_p5.pkl", DATA "/jax_f32_p4.pkl"};

static void a_cut_pickle_is_refused_at_every_length(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        size_t n;
        unsigned char *bytes = read_bytes(whole[i], &n);
        for (size_t cut = 0; cut < n; cut++) {
            pickle p = run(bytes, cut, GK_PICKLE_NUMPY);
            assert_null(p.root);
            assert_int_equal(p.err.code, GK_ERR_FORMAT);
            done(&p);
        }
        free(bytes);
    }
}

/* Whatever a bit makes of it: refused, or an array whose bytes lie in the file. */
static void a_flipped_bit_leads_nowhere(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        size_t n;
        unsigned char *bytes = read_bytes(whole[i], &n);
        for (size_t bit = 0; bit < 8 * n; bit++) {
            gk_pickled_array array;
            gk_err err = {0};
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            pickle p = run(bytes, n, GK_PICKLE_NUMPY);
            if (p.root != NULL && gk_pickled_array_of(p.root, &array, &err))
                assert_true(array.off <= n && array.bytes <= n - array.off);
            done(&p);
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        free(bytes);
    }
}

static void arrays_that_lie_are_refused(void **state)
{
    static const struct {
        const char *old, *new;
        gk_err_code code;
        const char *word;
    } edits[] = {
        {"\x8C\x02"
         "f4",
         "\x8C\x02"
         "O8",
         GK_ERR_UNSUPPORTED, "'O8'"},
        {"\x8C\x02"
         "f4",
         "\x8C\x02"
         "V4",
         GK_ERR_UNSUPPORTED, "'V4'"},
        {"\x8C\x02"
         "f4",
         "\x8C\x02"
         "f8",
         GK_ERR_FORMAT, "120 bytes of F64, the pickle holds 60"},
        {"\x8C\x01<", "\x8C\x01>", GK_ERR_UNSUPPORTED, "big-endian"},
        {"\x8C\x01<", "\x8C\x01!", GK_ERR_FORMAT, "byte order"},
        {"K\x03K\x05", "K\x03K\x06", GK_ERR_FORMAT, "72 bytes of F32, the pickle holds 60"},
        {"K\x03K\x05", "K\x03N", GK_ERR_FORMAT, "dimension 1"},
        {"ndarray", "ndarra_", GK_ERR_FORMAT, "an array"},
        {"_reconstruct", "_reconstrucT", GK_ERR_FORMAT, "_reconstrucT"},
    };
    size_t n;

    (void)state;
    for (size_t i = 0; i < sizeof edits / sizeof edits[0]; i++) {
        unsigned char *bytes = read_bytes(ARRAY, &n);
        write_bytes(WORK "/array.pkl", bytes, n);
        free(bytes);
        edit_text(WORK "/array.pkl", edits[i].old, edits[i].new);
        bytes = read_bytes(WORK "/array.pkl", &n);
        /* the length of the frame follows the edit */
        const uint64_t frame = n - 11;
        memcpy(bytes + 3, &frame, 8);
        write_bytes(WORK "/array.pkl", bytes, n);
        free(bytes);
        expect_bad(WORK "/array.pkl", edits[i].code, "array.pkl", "", edits[i].word);
    }
}

WORK_FOLDER(WORK)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_are_what_numpy_and_jax_say),
        cmocka_unit_test(bytes_as_text_are_read_from_any_place),
        cmocka_unit_test(the_name_does_not_matter),
        cmocka_unit_test(what_is_malformed_is_refused_where_it_is),
        cmocka_unit_test(objects_are_what_was_written),
        cmocka_unit_test(a_call_is_a_node_and_a_warning),
        cmocka_unit_test(unknown_globals_are_counted_past_some),
        cmocka_unit_test(torch_has_its_own_set_of_opcodes),
        cmocka_unit_test(a_memo_of_the_highest_index_costs_nothing),
        cmocka_unit_test(depth_costs_no_stack),
        cmocka_unit_test(the_number_of_objects_has_a_limit),
        cmocka_unit_test(a_cut_pickle_is_refused_at_every_length),
        cmocka_unit_test(a_flipped_bit_leads_nowhere),
        cmocka_unit_test(arrays_that_lie_are_refused),
    };
    return cmocka_run_group_tests(tests, open_work, close_work);
}
