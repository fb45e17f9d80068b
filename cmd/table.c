/* cmd/table.c - columns of text that fit the terminal, and numbers for people. */
#include "cmd/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define GAP       2 /* columns between columns       */
#define MIN_WIDTH 8 /* a cut cell keeps at least this */

/* ---- widths ------------------------------------------------------------------- */

/* Code points that take no column and those that take two, coarsely: combining marks
 * and joiners; East Asian wide forms and emoji (Unicode 15 EastAsianWidth W and F). */
static const uint32_t no_width[][2] = {
    {0x0300, 0x036F}, {0x0483, 0x0489}, {0x0591, 0x05BD}, {0x0610, 0x061A}, {0x064B, 0x065F},
    {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F},
    {0xFE20, 0xFE2F}, {0xE0100, 0xE01EF},
};
static const uint32_t two_wide[][2] = {
    {0x1100, 0x115F}, {0x2E80, 0x303E}, {0x3041, 0xA4CF}, {0xA960, 0xA97C}, {0xAC00, 0xD7A3},
    {0xF900, 0xFAFF}, {0xFE30, 0xFE6F}, {0xFF00, 0xFF60}, {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F},
    {0x1F680, 0x1F6FF}, {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD},
};

static bool within(uint32_t c, const uint32_t (*range)[2], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= range[i][0] && c <= range[i][1])
            return true;
    return false;
}

/* Returns the columns of the character at s, *len its bytes. */
static int char_width(const char *s, int *len)
{
    const unsigned char *u = (const unsigned char *)s;
    *len = gk_utf8_len(s, strnlen(s, 4));
    if (*len <= 1) {
        *len = 1;
        return 1;
    }
    uint32_t c = u[0] & (0x7Fu >> *len);
    for (int i = 1; i < *len; i++)
        c = c << 6 | (u[i] & 0x3Fu);
    if (within(c, no_width, sizeof no_width / sizeof *no_width))
        return 0;
    return within(c, two_wide, sizeof two_wide / sizeof *two_wide) ? 2 : 1;
}

int gk_display_width(const char *s)
{
    int width = 0, len;
    for (; *s; s += len)
        width += char_width(s, &len);
    return width;
}

void gk_cut_middle(gk_text *out, const char *s, int width)
{
    int all = gk_display_width(s), len;
    if (all <= width) {
        gk_text_str(out, s);
        return;
    }
    if (width < 1)
        return;
    int head = (width - 1) / 2, tail = width - 1 - head, at = 0;
    for (; at + char_width(s, &len) <= head; s += len) {
        at += char_width(s, &len);
        gk_text_add(out, s, (uint64_t)len);
    }
    gk_text_str(out, "…");
    while (all - at > tail) {
        at += char_width(s, &len);
        s += len;
    }
    gk_text_str(out, s);
}

/* 0 when unknown */
static int known_width(int fd)
{
    struct winsize size;
    const char *columns = getenv("COLUMNS");
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    if (columns && atoi(columns) > 0 && atoi(columns) < 10000)
        return atoi(columns);
    return 0;
}

int gk_terminal_width(int fd)
{
    const int width = known_width(fd);
    return width > 0 ? width : 80;
}

int gk_table_width(void)
{
    return known_width(1);
}

/* ---- tables ------------------------------------------------------------------- */

void gk_table_cell(gk_table *t, const char *text)
{
    if (text == NULL) { /* of a gk_text that found no memory */
        t->cells.failed = true;
        return;
    }
    gk_text_escaped(&t->cells, text, strlen(text));
    gk_text_char(&t->cells, '\0');
    t->n_cells++;
}

void gk_table_cellf(gk_table *t, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    gk_table_cell(t, text);
}

/* Sets wide[i] to the widest cell of each column. */
static void measure(const gk_table *t, int *wide)
{
    const char *cell = t->cells.data;
    for (int i = 0; i < t->n_columns; i++)
        wide[i] = gk_display_width(t->column[i].title);
    for (uint64_t k = 0; k < t->n_cells; k++, cell += strlen(cell) + 1) {
        int width = gk_display_width(cell), i = (int)(k % (uint64_t)t->n_columns);
        if (width > wide[i])
            wide[i] = width;
    }
}

/* Takes what is too much from the widest column that may be cut, one by one. */
static void shrink(const gk_table *t, int *wide, int width)
{
    int total = t->indent ? gk_display_width(t->indent) : 0;
    for (int i = 0; i < t->n_columns; i++)
        total += wide[i] + (i ? GAP : 0);
    while (total > width) {
        int widest = -1;
        for (int i = 0; i < t->n_columns; i++)
            if (t->column[i].cut && wide[i] > MIN_WIDTH && (widest < 0 || wide[i] > wide[widest]))
                widest = i;
        if (widest < 0)
            return;
        wide[widest]--;
        total--;
    }
}

static void add_cell(const gk_table *t, gk_text *out, int i, const char *cell, const int *wide)
{
    bool last = i == t->n_columns - 1;
    int pad = wide[i] - gk_display_width(cell);
    if (i == 0 && t->indent)
        gk_text_str(out, t->indent);
    if (t->column[i].right && pad > 0)
        gk_text_printf(out, "%*s", pad, "");
    if (t->column[i].cut)
        gk_cut_middle(out, cell, wide[i]);
    else
        gk_text_str(out, cell);
    if (!last)
        gk_text_printf(out, "%*s", (t->column[i].right || pad < 0 ? 0 : pad) + GAP, "");
}

/* Ends a line, without the spaces that empty cells left. */
static void end_line(gk_text *out)
{
    while (out->len > 0 && out->data[out->len - 1] == ' ')
        out->data[--out->len] = '\0';
    gk_text_char(out, '\n');
}

void gk_table_print(const gk_table *t, gk_text *out, int width, bool bold)
{
    int wide[GK_MAX_COLUMNS] = {0};
    bool head = false;
    if (t->cells.failed) {
        out->failed = true;
        return;
    }
    measure(t, wide);
    if (width > 0)
        shrink(t, wide, width);
    for (int i = 0; i < t->n_columns; i++)
        head |= t->column[i].title[0] != '\0';
    if (head) {
        gk_text_str(out, bold ? "\x1b[1m" : "");
        for (int i = 0; i < t->n_columns; i++)
            add_cell(t, out, i, t->column[i].title, wide);
        gk_text_str(out, bold ? "\x1b[0m" : "");
        end_line(out);
    }
    const char *cell = t->cells.data;
    for (uint64_t k = 0; k < t->n_cells; k++, cell += strlen(cell) + 1) {
        int i = (int)(k % (uint64_t)t->n_columns);
        add_cell(t, out, i, cell, wide);
        if (i == t->n_columns - 1)
            end_line(out);
    }
}

void gk_table_free(gk_table *t)
{
    gk_text_free(&t->cells);
    t->n_cells = 0;
}

/* ---- numbers for people ------------------------------------------------------- */

/* Four digits at most: 1.23, 12.3 and 123.4 of a unit that is `step` times the last. */
static const char *scaled(char *buf, size_t size, uint64_t n, unsigned step,
                          const char *const *unit, int n_units)
{
    double v = (double)n;
    int i = 0;
    /* what would be printed as 1000.0 belongs to the next unit */
    while (i + 1 < n_units && v >= step - 0.05) {
        v /= step;
        i++;
    }
    const char *gap = unit[i][0] ? " " : "";
    if (i == 0)
        snprintf(buf, size, "%llu%s%s", (unsigned long long)n, gap, unit[0]);
    else
        snprintf(buf, size, "%.*f%s%s", v < 9.995 ? 2 : 1, v, gap, unit[i]);
    return buf;
}

static const char *const decimal[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
static const char *const binary[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
static const char *const counts[] = {"", "k", "M", "B", "T", "Q"};

const char *gk_human_bytes(gk_human buf, uint64_t bytes)
{
    return scaled(buf, sizeof(gk_human), bytes, 1000, decimal, 7);
}

const char *gk_human_both(gk_human buf, uint64_t bytes)
{
    gk_human a, b;
    if (bytes < 1000)
        return gk_human_bytes(buf, bytes);
    scaled(a, sizeof a, bytes, 1000, decimal, 7);
    scaled(b, sizeof b, bytes, 1024, binary, 7);
    snprintf(buf, sizeof(gk_human), "%.20s (%.20s)", a, b);
    return buf;
}

const char *gk_human_count(gk_human buf, uint64_t n)
{
    return scaled(buf, sizeof(gk_human), n, 1000, counts, 6);
}

const char *gk_human_exact(gk_human buf, uint64_t n)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n), at = 0;
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            buf[at++] = ',';
        buf[at++] = digits[i];
    }
    buf[at] = '\0';
    return buf;
}

const char *gk_human_time(gk_human buf, double seconds)
{
    if (!(seconds >= 0) || seconds > 1e9) {
        snprintf(buf, sizeof(gk_human), "?");
        return buf;
    }
    unsigned long s = (unsigned long)(seconds + 0.5);
    if (s >= 86400)
        snprintf(buf, sizeof(gk_human), "%lud %luh", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        snprintf(buf, sizeof(gk_human), "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(buf, sizeof(gk_human), "%lu:%02lu", s / 60, s % 60);
    return buf;
}

const char *gk_human_share(gk_human buf, uint64_t part, uint64_t all)
{
    double share = all ? 100.0 * (double)part / (double)all : 0;
    if (part && share < 0.05)
        snprintf(buf, sizeof(gk_human), "<0.1%%");
    else
        snprintf(buf, sizeof(gk_human), "%.1f%%", share);
    return buf;
}
