/* tests/test_safetensors_limits.c - the largest headers, and damage of every kind. */
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/container.h"

#define MAX_HEADER 100000000u
#define MIB        (1024 * 1024)

#if defined __SANITIZE_ADDRESS__
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

/* ---- large headers -------------------------------------------------------------- */

/* Opens the file in a child. Returns its peak of resident memory in bytes, and what it
 * saw: tensors and the code of the first finding. */
static uint64_t open_in_a_child(uint64_t *n_tensors, int *code)
{
    int ends[2], status;
    uint64_t seen[2] = {0, 0};
    struct rusage use;
    assert_int_equal(pipe(ends), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        gk_err err = {0};
        gk_catalog *c = gk_catalog_open(path, &err);
        if (c != NULL) {
            seen[0] = c->n_tensors;
            seen[1] = c->findings.n > 0 ? c->findings.row[0].code : GK_OK;
            gk_catalog_close(c);
        } else {
            seen[1] = err.code;
        }
        _exit(write(ends[1], seen, sizeof seen) != sizeof seen);
    }
    close(ends[1]);
    assert_int_equal(read(ends[0], seen, sizeof seen), sizeof seen);
    close(ends[0]);
    assert_int_equal(wait4(child, &status, 0, &use), child);
    assert_int_equal(status, 0);
    *n_tensors = seen[0];
    *code = (int)seen[1];
    return (uint64_t)use.ru_maxrss * 1024;
}

/* A header of n bytes: head, then spaces. */
static void write_padded(const char *head, uint64_t n)
{
    FILE *f = fopen(path, "wb");
    char *spaces = malloc(MIB);
    assert_true(f != NULL && spaces != NULL);
    for (int i = 0; i < 8; i++)
        fputc((int)(n >> 8 * i & 255), f);
    fputs(head, f);
    memset(spaces, ' ', MIB);
    for (uint64_t left = n - strlen(head); left > 0;) {
        const size_t step = left < MIB ? (size_t)left : MIB;
        assert_int_equal(fwrite(spaces, 1, step, f), step);
        left -= step;
    }
    assert_int_equal(fclose(f), 0);
    free(spaces);
}

static void the_longest_header_opens_and_one_byte_more_does_not(void **state)
{
    (void)state;
    uint64_t n;
    int code;
    write_padded("{\"t\":" U8("[0]", "[0,0]") "}", MAX_HEADER);
    uint64_t peak = open_in_a_child(&n, &code);
    print_message("padded header: peak %llu KiB\n", (unsigned long long)peak / 1024);
    assert_int_equal(code, GK_OK);
    assert_int_equal(n, 1);
    if (!SANITIZED)
        assert_true(peak <= 64 * MIB);
    write_padded("{}", MAX_HEADER + 1);
    check_finding(&(bad){"100,000,001", 0, GK_ERR_LIMIT, "", NULL, 0, "at most 100000000"}, 0);
    assert_int_equal(truncate(path, 1000), 0);
    check_finding(&(bad){"100,000,001, cut", 0, F, "", NULL, 0, "at most 100000000"}, 0);
    write_padded("{}", MAX_HEADER);
    assert_int_equal(truncate(path, MAX_HEADER + 7), 0);
    check_finding(&(bad){"100,000,000, cut", 0, F, "", NULL, 8, "truncated"}, 8);
    unlink(path);
}

enum layout { FORWARDS, BACKWARDS, EMPTY, N_LAYOUTS };

/* Writes a header of exactly MAX_HEADER bytes full of entries: of one byte each, with
 * their data in or against the order of the header, or, most of all, of none. Returns
 * how many. */
static uint64_t write_entries(enum layout layout)
{
    static const char empty[] = "%s\"%llx\":" U8("[0]", "[0,0]");
    static const char one[] = "%s\"%llx\":" U8("[1]", "[%llu,%llu]");
    const uint64_t all = (MAX_HEADER - 2) / (layout == EMPTY ? 57 : 71); /* of the longest */
    FILE *f = fopen(path, "wb");
    uint64_t left = MAX_HEADER - 2;
    assert_non_null(f);
    for (int i = 0; i < 8; i++)
        fputc((int)((uint64_t)MAX_HEADER >> 8 * i & 255), f);
    fputc('{', f);
    for (uint64_t n = 0; n < all; n++) {
        const unsigned long long at = layout == BACKWARDS ? all - 1 - n : n;
        char entry[100];
        const char *comma = n > 0 ? "," : "";
        const int len = layout == EMPTY
                            ? snprintf(entry, sizeof entry, empty, comma, at)
                            : snprintf(entry, sizeof entry, one, comma, at, at, at + 1);
        assert_in_range(len, 1, left);
        assert_int_equal(fwrite(entry, 1, (size_t)len, f), len);
        left -= (uint64_t)len;
    }
    fputc('}', f);
    for (; left > 0; left--)
        fputc(' ', f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(truncate(path, (off_t)(8 + MAX_HEADER + (layout == EMPTY ? 0 : all))), 0);
    return all;
}

static void the_longest_header_may_be_full_of_entries(void **state)
{
    (void)state;
    for (enum layout layout = FORWARDS; layout < N_LAYOUTS; layout++) {
        const uint64_t expected = write_entries(layout);
        uint64_t n;
        int code;
        const uint64_t peak = open_in_a_child(&n, &code);
        print_message("%llu entries: peak %llu KiB\n", (unsigned long long)expected,
                      (unsigned long long)peak / 1024);
        assert_int_equal(code, GK_OK);
        assert_int_equal(n, expected);
        if (!SANITIZED)
            assert_true(peak <= MAX_HEADER + 64 * MIB);
    }
    unlink(path);
}

/* A header whose metadata has n keys, each `"%llx":""`, but all the same where it says so. */
static void write_keys(uint64_t n, bool same)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite("\0\0\0\0\0\0\0\0{\"__metadata__\":{", 1, 25, f), 25);
    for (uint64_t i = 0; i < n; i++)
        fprintf(f, "%s\"%llx\":\"\"", i > 0 ? "," : "", same ? 7ULL : (unsigned long long)i);
    fputs("}}", f);
    const long end = ftell(f);
    assert_int_equal(fseek(f, 0, SEEK_SET), 0);
    for (int i = 0; i < 8; i++)
        fputc((int)((uint64_t)(end - 8) >> 8 * i & 255), f);
    assert_int_equal(fclose(f), 0);
}

static void a_million_keys_of_metadata_open_and_one_more_does_not(void **state)
{
    (void)state;
    uint64_t n;
    int code;
    for (int same = 0; same < 2; same++) {
        write_keys(1000000, same);
        const uint64_t peak = open_in_a_child(&n, &code);
        print_message("a million %s keys: peak %llu KiB\n", same ? "equal" : "different",
                      (unsigned long long)peak / 1024);
        assert_int_equal(code, same ? F : GK_OK); /* a warning */
        if (!SANITIZED)
            assert_true(peak <= 64 * MIB);
        write_keys(1000001, same);
        open_in_a_child(&n, &code);
        assert_int_equal(code, GK_ERR_LIMIT);
    }
    unlink(path);
}

static void a_hundred_thousand_entries_on_the_same_bytes_are_refused(void **state)
{
    (void)state;
    enum { N = 100000 };
    char *header = malloc(N * 80), *at = header;
    for (int i = 0; i < N; i++)
        at += sprintf(at, "%c\"%d\":" U8("[1]", "[0,1]"), i == 0 ? '{' : ',', i);
    at += sprintf(at, "}");
    write_file(header, (size_t)(at - header), 1);
    gk_catalog *c = open_file();
    assert_int_equal(c->findings.n, 1);
    assert_non_null(strstr(c->findings.row[0].text, "overlap"));
    gk_catalog_close(c);
    free(header);
}

/* ---- damage --------------------------------------------------------------------- */

static const char small[] = "{\"__metadata__\":{\"format\":\"pt\"},\"a.b\":{\"dtype\":\"BF16\","
                            "\"shape\":[2,3],\"data_offsets\":[0,12]},\"\\u00e9\":"
                            "{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[12,16]}}   ";

static void a_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    unsigned char file[sizeof small + 100];
    const size_t n = build(file, small, sizeof small - 1, 16);
    for (size_t cut = 0; cut <= n; cut++) {
        write_bytes(file, cut);
        gk_catalog *c = open_file();
        assert_int_equal(c->findings.n, cut == n ? 0 : 1);
        assert_int_equal(c->n_tensors, cut == n ? 2 : 0);
        if (cut < n) {
            assert_int_equal(c->findings.row[0].code, GK_ERR_FORMAT);
            assert_string_equal(c->findings.row[0].file, FILE_NAME);
            assert_in_range(c->findings.row[0].off, 0, cut < 8 ? 8 : cut);
        }
        gk_catalog_close(c);
    }
    print_message("%zu lengths\n", n + 1);
}

/* What a reader says of the file at path, as text. */
static void verdict(char *text, size_t size)
{
    gk_catalog *c = open_file();
    size_t n = 0;
    text[0] = '\0';
    for (uint64_t i = 0; i < c->findings.n; i++)
        n += (size_t)snprintf(text + n, size - n, "%d %lld '%s' '%s' %s\n",
                              (int)c->findings.row[i].code, (long long)c->findings.row[i].off,
                              c->findings.row[i].file, c->findings.row[i].tensor,
                              c->findings.row[i].text);
    for (uint64_t i = 0; i < c->n_tensors; i++) {
        const gk_tensor *t = &c->tensor[i];
        unsigned char data[16];
        gk_err err = {0};
        assert_in_range(gk_tensor_bytes(t), 0, sizeof data);
        assert_in_range(t->whole->off, c->input[0].header_bytes,
                        c->input[0].file->size - gk_tensor_bytes(t));
        assert_ok(gk_read_part(c, t, 0, 0, gk_rows(t), 0, gk_cols(t), data, &err), err);
        n += (size_t)snprintf(text + n, size - n, "'%s' %d %d %llu %llu\n", t->name,
                              (int)t->dtype, (int)t->ndim, (unsigned long long)gk_rows(t),
                              (unsigned long long)gk_cols(t));
    }
    assert_int_equal(c->findings.n == 0, c->input[0].usable);
    gk_catalog_close(c);
    assert_true(n < size);
}

static void any_flipped_bit_is_refused_or_read_the_same_twice(void **state)
{
    (void)state;
    unsigned char file[sizeof small + 100];
    char once[4096], twice[4096];
    const size_t n = build(file, small, sizeof small - 1, 16);
    int good = 0;
    for (size_t bit = 0; bit < 8 * (8 + sizeof small - 1); bit++) {
        file[bit / 8] ^= (unsigned char)(1u << bit % 8);
        write_bytes(file, n);
        verdict(once, sizeof once);
        verdict(twice, sizeof twice);
        assert_string_equal(once, twice);
        good += once[0] == '\'';
        file[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    print_message("%d flips, %d of them legal files\n", (int)(8 * (8 + sizeof small - 1)), good);
    assert_true(good > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_header_opens_and_one_byte_more_does_not),
        cmocka_unit_test(the_longest_header_may_be_full_of_entries),
        cmocka_unit_test(a_million_keys_of_metadata_open_and_one_more_does_not),
        cmocka_unit_test(a_hundred_thousand_entries_on_the_same_bytes_are_refused),
        cmocka_unit_test(a_file_cut_anywhere_is_refused),
        cmocka_unit_test(any_flipped_bit_is_refused_or_read_the_same_twice),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
