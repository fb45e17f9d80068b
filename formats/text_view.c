/* formats/text_view.c - bytes that a file holds as text.
 *
 * Pickles of protocol 2 have no bytes: Python 3 writes them as the UTF-8 of U+0000..U+00FF,
 * so a byte above 0x7F takes two. The text is walked once when the file is opened, to prove
 * it and to note where every 65,536th byte stands; a read decodes from the mark before it. */
#include <string.h>

#include "formats/checked.h"
#include "formats/io.h"

#define MARK_BYTES   65536u /* decoded, between two marks */
#define WINDOW_BYTES 16384u

struct gk_text_view {
    uint64_t off, len, size; /* in the file; decoded */
    const uint64_t *mark;    /* file offsets         */
    const struct gk_text_view *next;
};

/* A walk over the text, character by character. */
typedef struct walk {
    const gk_file *f;
    uint64_t at, end; /* file offsets */
    uint64_t window_off, window_len;
    unsigned char window[WINDOW_BYTES];
    gk_err *err;
} walk;

static bool next_raw(walk *w, unsigned char *out)
{
    if (w->at >= w->window_off + w->window_len || w->at < w->window_off) {
        w->window_off = w->at;
        w->window_len = gk_min(WINDOW_BYTES, w->end - w->at);
        if (w->window_len == 0 || !gk_file_read(w->f, w->at, w->window, w->window_len, w->err))
            return false;
    }
    *out = w->window[w->at++ - w->window_off];
    return true;
}

/* False with *err for what is no character up to U+00FF. */
static bool next_byte(walk *w, unsigned char *out)
{
    const uint64_t start = w->at;
    unsigned char second;

    if (!next_raw(w, out))
        return false;
    if (*out < 0x80)
        return true;
    if ((*out == 0xC2 || *out == 0xC3) && w->at < w->end && next_raw(w, &second)
        && (second & 0xC0) == 0x80) {
        *out = (unsigned char)((*out & 3) << 6 | (second & 0x3F));
        return true;
    }
    if (w->err->code != GK_OK)
        return false;
    gk_fail(w->err, GK_ERR_FORMAT, start,
            "text that should stand for bytes holds another "
            "character than U+0000 to U+00FF");
    return gk_fail_at(w->err, w->f->name, NULL);
}

bool gk_file_add_text(gk_arena *a, gk_file *f, uint64_t off, uint64_t len, uint64_t size,
                      uint64_t *where, gk_err *err)
{
    struct gk_text_view *view = gk_arena_alloc(a, 1, sizeof *view, err);
    uint64_t *mark = gk_arena_alloc(a, size / MARK_BYTES + 1, sizeof *mark, err);
    walk w = {.f = f, .at = off, .end = off + len, .err = err};
    unsigned char byte;
    uint64_t n = 0;

    if (view == NULL || mark == NULL)
        return false;
    while (w.at < w.end && n <= size) {
        if (n % MARK_BYTES == 0)
            mark[n / MARK_BYTES] = w.at;
        if (!next_byte(&w, &byte))
            return false;
        n++;
    }
    if (n != size) {
        gk_fail(err, GK_ERR_FORMAT, off, "text for %s than the %llu bytes of the array",
                n < size ? "fewer" : "more", (unsigned long long)size);
        return gk_fail_at(err, f->name, NULL);
    }
    *view = (struct gk_text_view){off, len, size, mark, f->text};
    f->text = view;
    *where = GK_FILE_TEXT + off;
    return true;
}

bool gk_file_read_text(const gk_file *f, uint64_t off, void *buf, uint64_t n, gk_err *err)
{
    const uint64_t raw = off - GK_FILE_TEXT;
    const struct gk_text_view *view = f->text;
    unsigned char *out = buf, skipped;

    while (view != NULL && (raw < view->off || raw - view->off > view->size))
        view = view->next;
    if (view == NULL || n > view->size - (raw - view->off)) {
        gk_fail(err, GK_ERR_IO, raw, "a read past the end of a text");
        return gk_fail_at(err, f->name, NULL);
    }
    if (n == 0)
        return true;
    const uint64_t first = raw - view->off;
    walk w = {
        .f = f, .at = view->mark[first / MARK_BYTES], .end = view->off + view->len, .err = err};
    for (uint64_t i = 0; i < first % MARK_BYTES; i++)
        if (!next_byte(&w, &skipped))
            return false;
    for (uint64_t i = 0; i < n; i++)
        if (!next_byte(&w, &out[i]))
            return false;
    return true;
}
