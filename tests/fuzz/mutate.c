/* tests/fuzz/mutate.c - mutations that know the format: one field becomes another value, or
 * one piece goes, comes or grows, and what depends on it is put right. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"

#define MAX_PLACES 2048

/* A small generator (xorshift32); a mutation is a function of its seed. */
static uint32_t next_random(uint32_t *state)
{
    uint32_t x = *state == 0 ? 0x9E3779B9u : *state;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

static size_t below(uint32_t *state, size_t n) { return n == 0 ? 0 : next_random(state) % n; }

/* A number at which arithmetic goes wrong, or one close to what stood there. */
static uint64_t odd_number(uint32_t *state, uint64_t was)
{
    static const uint64_t odd[] = {0,
                                   1,
                                   2,
                                   3,
                                   4,
                                   7,
                                   8,
                                   31,
                                   32,
                                   33,
                                   63,
                                   64,
                                   127,
                                   128,
                                   255,
                                   256,
                                   511,
                                   512,
                                   1024,
                                   4096,
                                   65535,
                                   65536,
                                   0x7FFFFFFF,
                                   0x80000000,
                                   0xFFFFFFFF,
                                   UINT64_C(0x100000000),
                                   UINT64_C(0x1FFFFFFFFFFFFFFF),
                                   UINT64_C(0x3FFFFFFFFFFFFFFF),
                                   UINT64_C(0x4000000000000000),
                                   INT64_MAX,
                                   UINT64_C(0x8000000000000000),
                                   UINT64_MAX - 31,
                                   UINT64_MAX - 7,
                                   UINT64_MAX};

    switch (below(state, 4)) {
    case 0: return was + below(state, 9) - 4;
    case 1: return was << below(state, 4) >> below(state, 3);
    default: return odd[below(state, sizeof odd / sizeof odd[0])];
    }
}

static uint64_t load(const uint8_t *p, size_t width)
{
    uint64_t v = 0;

    for (size_t i = 0; i < width; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static void store(uint8_t *p, size_t width, uint64_t v)
{
    for (size_t i = 0; i < width; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* Puts n bytes in the place of old ones at `at`; from may be NULL: zeros. Returns the new
 * size, 0: no room. */
static size_t replace(uint8_t *data, size_t size, size_t max, size_t at, size_t old,
                      const void *from, size_t n)
{
    if (at > size || old > size - at || size - old > max || n > max - (size - old))
        return 0;
    memmove(data + at + n, data + at + old, size - at - old);
    if (from != NULL)
        memcpy(data + at, from, n);
    else
        memset(data + at, 0, n);
    return size - old + n;
}

/* ---- safetensors: u64 length of the header, JSON, data ------------------------------- */

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

/* A number of the header, by its place. False: it has none. */
static bool pick_number(const uint8_t *data, size_t end, uint32_t *state, size_t *at, size_t *n)
{
    const size_t from = 8 + below(state, end - 8);

    for (size_t k = 8; k < end; k++) {
        size_t i = 8 + (from - 8 + k - 8) % (end - 8);
        if (!is_digit(data[i]) || data[i - 1] == '"')
            continue;
        while (i > 8 && is_digit(data[i - 1]))
            i--;
        *at = i;
        for (*n = 0; i + *n < end && is_digit(data[i + *n]);)
            ++*n;
        return true;
    }
    return false;
}

size_t fuzz_mutate_safetensors(uint8_t *data, size_t size, size_t max, uint32_t seed)
{
    static const char *const types[] = {"F64",     "F32",  "F16", "BF16",    "I64",
                                        "I8",      "BOOL", "F4",  "F8_E4M3", "F6_E2M3",
                                        "F8_E8M0", "U16",  "C64", "X"};
    uint32_t state = seed;
    char text[32];
    size_t at = 0, old = 0, n = 0, grown = 0;

    if (size < 10 || load(data, 8) > size - 8 || load(data, 8) < 2)
        return 0;
    const size_t header = (size_t)load(data, 8), end = 8 + header;
    switch (below(&state, 4)) {
    case 0: /* a dtype, of any length */
        for (at = 8 + below(&state, header); at + 10 < end; at++)
            if (memcmp(data + at, "\"dtype\":\"", 9) == 0)
                break;
        if (at + 10 >= end)
            return 0;
        for (at += 9; at + old < end && data[at + old] != '"';)
            old++;
        n = (size_t)snprintf(text, sizeof text, "%s",
                             types[below(&state, sizeof types / sizeof types[0])]);
        grown = replace(data, size, max, at, old, text, n);
        break;
    case 1: /* the data is longer or shorter */
        n = below(&state, 65);
        return size - end >= n && (seed & 1) ? size - n
                                             : replace(data, size, max, size, 0, NULL, n);
    default:
        if (!pick_number(data, end, &state, &at, &old) || old > 20)
            return 0;
        memcpy(text, data + at, old);
        text[old] = '\0';
        uint64_t was = 0;
        sscanf(text, "%" SCNu64, &was);
        n = (size_t)snprintf(text, sizeof text, "%" PRIu64, odd_number(&state, was));
        grown = replace(data, size, max, at, old, text, n);
        break;
    }
    if (grown != 0)
        store(data, 8, header + n - old);
    return grown;
}

/* ---- GGUF --------------------------------------------------------------------------- */

typedef struct place {
    size_t at;
    uint8_t width;
    bool counts; /* bytes that follow it: they can grow with it */
} place;

typedef struct places {
    const uint8_t *data;
    size_t size, pos;
    size_t n;
    place row[MAX_PLACES];
} places;

/* Notes a field and passes it; 0 at the end of the file. */
static uint64_t field(places *p, uint8_t width, bool counts)
{
    if (p->size - p->pos < width) {
        p->pos = p->size;
        return 0;
    }
    const uint64_t v = load(p->data + p->pos, width);
    if (p->n < MAX_PLACES)
        p->row[p->n++] = (place){p->pos, width, counts};
    p->pos += width;
    return v;
}

static void string(places *p)
{
    const uint64_t n = field(p, 8, true);

    p->pos = n <= p->size - p->pos ? p->pos + (size_t)n : p->size;
}

static void value(places *p, uint64_t type, int depth)
{
    static const uint8_t width[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

    if (type == 8) {
        string(p);
    } else if (type == 9 && depth < 4) {
        const uint64_t elem = field(p, 4, false);
        const uint64_t n = field(p, 8, false);
        for (uint64_t i = 0; i < n && p->pos < p->size; i++)
            value(p, elem, depth + 1);
    } else if (type < sizeof width && width[type] > 0) {
        field(p, width[type], false);
    } else {
        p->pos = p->size;
    }
}

static void gguf_places(places *p)
{
    field(p, 4, false);
    const uint64_t n_tensors = field(p, 8, false), n_kv = field(p, 8, false);
    for (uint64_t i = 0; i < n_kv && p->pos < p->size; i++) {
        string(p);
        value(p, field(p, 4, false), 0);
    }
    for (uint64_t i = 0; i < n_tensors && p->pos < p->size; i++) {
        string(p);
        const uint64_t n_dims = field(p, 4, false);
        for (uint64_t k = 0; k < n_dims && k < 8; k++)
            field(p, 8, false);
        field(p, 4, false);
        field(p, 8, false);
    }
}

size_t fuzz_mutate_gguf(uint8_t *data, size_t size, size_t max, uint32_t seed)
{
    static places p; /* fuzzing has one thread */
    uint32_t state = seed;

    if (size < 24 || memcmp(data, "GGUF", 4) != 0)
        return 0;
    p = (places){.data = data, .size = size, .pos = 4};
    gguf_places(&p);
    /* early ones matter more than the 300 tokens of an array */
    const size_t few = p.n > 40 && below(&state, 2) == 0 ? 40 : p.n;
    const place at = p.row[below(&state, few)];
    const uint64_t was = load(data + at.at, at.width);
    if (at.counts && was <= size - at.at - 8 && below(&state, 2) == 0) {
        const size_t n = below(&state, 40);
        const size_t grown = replace(data, size, max, at.at + 8, (size_t)was, NULL, n);
        if (grown != 0) {
            store(data + at.at, 8, n);
            for (size_t i = 0; i < n; i++)
                data[at.at + 8 + i] = (uint8_t)("abc.\0\xC3\xA9<>0_\xE2\x96\x81"[i * seed % 13]);
        }
        return grown;
    }
    store(data + at.at, at.width, odd_number(&state, was));
    return size;
}

/* ---- pickle ---------------------------------------------------------------------------- */

/* What follows an opcode: so many bytes, or as many as a count of that width says ('1', '4',
 * '8'), or a line ('l'), or two ('L'). */
static char argument_of(uint8_t op)
{
    switch (op) {
    case 'K':
    case 'q':
    case 'h':
    case 0x80:
    case 0x82: return 1;
    case 'M':
    case 0x83: return 2;
    case 'J':
    case 'r':
    case 'j':
    case 0x84: return 4;
    case 'G':
    case 0x95: return 8;
    case 'U':
    case 'C':
    case 0x8A:
    case 0x8C: return '1';
    case 'T':
    case 'X':
    case 'B':
    case 0x8B: return '4';
    case 0x8D:
    case 0x8E:
    case 0x96: return '8';
    case 'I':
    case 'L':
    case 'F':
    case 'S':
    case 'V':
    case 'P':
    case 'p':
    case 'g': return 'l';
    case 'c':
    case 'i': return 'L';
    default: return 0;
    }
}

/* The bytes of the opcode at `at` with what follows it, at most those that are left. */
static size_t opcode_bytes(const uint8_t *data, size_t size, size_t at)
{
    const char kind = argument_of(data[at]);
    const size_t left = size - at;
    size_t n = 1;

    if (kind == 'l' || kind == 'L') {
        for (int lines = kind == 'L' ? 2 : 1; lines > 0 && n < left; n++)
            lines -= data[at + n] == '\n';
    } else if (kind >= '1') {
        const size_t width = (size_t)(kind - '0');
        const uint64_t count = left > width ? load(data + at + 1, width) : 0;
        n = count < left ? 1 + width + (size_t)count : left;
    } else {
        n += (size_t)kind;
    }
    return n < left ? n : left;
}

/* The frame that holds `at` is as long as what is in it. */
static void mend_frame(uint8_t *data, size_t size, size_t at, uint64_t delta)
{
    for (size_t i = 0; i + 9 <= size && i <= at; i += opcode_bytes(data, size, i))
        if (data[i] == 0x95 && at - i >= 9 && at - i - 9 <= load(data + i + 1, 8)) {
            store(data + i + 1, 8, load(data + i + 1, 8) + delta);
            return;
        }
}

size_t fuzz_mutate_pickle(uint8_t *data, size_t size, size_t max, uint32_t seed)
{
    static const uint8_t ops[] = "(01.})]lt\x85\x86\x87\x88\x89N2aesubRo\x81\x94\x90\x91\x93Q";
    static size_t start[MAX_PLACES];
    uint32_t state = seed;
    uint8_t copy[256];
    size_t n = 0, grown = 0;

    for (size_t i = 0; i < size && n < MAX_PLACES; i += opcode_bytes(data, size, i))
        start[n++] = i;
    if (n < 3)
        return 0;
    const size_t at = start[below(&state, n)], bytes = opcode_bytes(data, size, at);
    const size_t other = start[below(&state, n)], more = opcode_bytes(data, size, other);
    const char kind = argument_of(data[at]);
    const size_t width = kind >= '1' && kind <= '8' ? (size_t)(kind - '0') : (size_t)kind;
    switch (below(&state, 5)) {
    case 0: /* without it */
        grown = replace(data, size, max, at, bytes, NULL, 0);
        mend_frame(data, grown, at, 0 - (uint64_t)bytes);
        return grown;
    case 1: /* another one's copy in front of it */
        if (more > sizeof copy)
            return 0;
        memcpy(copy, data + other, more);
        grown = replace(data, size, max, at, 0, copy, more);
        if (grown != 0)
            mend_frame(data, grown, at, more);
        return grown;
    case 2: /* a short one in front of it */
        copy[0] = ops[below(&state, sizeof ops - 1)];
        grown = replace(data, size, max, at, 0, copy, 1);
        if (grown != 0)
            mend_frame(data, grown, at, 1);
        return grown;
    case 3: /* another short one in its place */
        if (bytes != 1)
            return 0;
        data[at] = ops[below(&state, sizeof ops - 1)];
        return size;
    default: /* its number */
        if (width == 0 || width > 8 || size - at <= width)
            return 0;
        store(data + at + 1, width, odd_number(&state, load(data + at + 1, width)));
        return size;
    }
}

/* ---- tar --------------------------------------------------------------------------------- */

static uint64_t octal(const uint8_t *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        if (p[i] >= '0' && p[i] <= '7')
            v = v << 3 | (uint64_t)(p[i] - '0');
    return v;
}

/* One field of one header, whose checksum is then right. */
size_t fuzz_mutate_tar(uint8_t *data, size_t size, size_t max, uint32_t seed)
{
    static const struct {
        uint16_t at, n;
    } fields[] = {{0, 100},   {100, 8}, {124, 12},  {124, 12}, {156, 1}, {156, 1},
                  {157, 100}, {257, 8}, {345, 155}, {482, 1},  {483, 12}};
    static const char types[] = "0127LKgxSNVMD\0"
                                "5A";
    uint32_t state = seed;
    size_t n = 0, start[64], pos = 0;

    (void)max;
    while (pos + 512 <= size && n < 64) {
        start[n++] = pos;
        const uint64_t bytes = octal(data + pos + 124, 12);
        pos += 512;
        pos += bytes < size - pos ? (size_t)(bytes + 511) / 512 * 512 : size - pos;
    }
    if (n == 0 || memcmp(data + 257, "ustar", 5) != 0)
        return 0;
    uint8_t *const h = data + start[below(&state, n)];
    const size_t k = below(&state, sizeof fields / sizeof fields[0]);
    uint8_t *const f = h + fields[k].at;
    if (fields[k].n == 1) {
        *f = (uint8_t)types[below(&state, sizeof types - 1)];
    } else if (fields[k].n == 12 && below(&state, 2) == 0) {
        snprintf((char *)f, 12, "%011llo",
                 (unsigned long long)(odd_number(&state, octal(f, 12)) & 0x1FFFFFFFF));
    } else if (fields[k].n == 12) { /* in base 256 */
        const uint64_t v = odd_number(&state, octal(f, 12));
        memset(f, 0, 4);
        f[0] = 0x80;
        for (size_t i = 0; i < 8; i++)
            f[4 + i] = (uint8_t)(v >> (56 - 8 * i));
    } else {
        f[below(&state, fields[k].n)] = (uint8_t) "/.\0 a0\xFF\x80"[below(&state, 8)];
    }
    unsigned sum = 8 * ' ';
    for (size_t i = 0; i < 512; i++)
        sum += i >= 148 && i < 156 ? 0 : h[i];
    snprintf((char *)h + 148, 8, "%06o", sum & 0777777);
    h[155] = ' ';
    return size;
}
