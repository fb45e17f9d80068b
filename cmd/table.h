/* cmd/table.h - columns of text that fit the terminal, and numbers for people. */
#ifndef GK_CMD_TABLE_H
#define GK_CMD_TABLE_H

#include "formats/text.h"

#define GK_MAX_COLUMNS 12

typedef struct gk_column {
    const char *title; /* "" for none; a table whose titles are all "" has no head */
    bool        right; /* aligned right (numbers)                                  */
    bool        cut;   /* may be cut in the middle to make the table fit           */
} gk_column;

/* Rows of cells; zero-initialise, set the columns (they must outlive the table). */
typedef struct gk_table {
    const gk_column *column;
    int              n_columns;
    const char      *indent; /* put before each line; NULL: none   */
    gk_text          cells;  /* NUL-ended, row by row, escaped     */
    uint64_t         n_cells;
} gk_table;

/* Adds the next cell, escaped; rows fill from left to right. NULL is a text that found no
 * memory: the table then fails, too. */
void gk_table_cell(gk_table *t, const char *text);
void gk_table_cellf(gk_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Adds the table to out, no line wider than width columns where cutting allows
 * (width 0: no limit), nothing after the last word of a line; bold: head in bold. */
void gk_table_print(const gk_table *t, gk_text *out, int width, bool bold);
void gk_table_free(gk_table *t);

/* Returns the columns of the terminal on fd: its size, else COLUMNS, else 80. */
int gk_terminal_width(int fd);

/* The width for tables on stdout: as above, but 0 (no limit) where no terminal and no
 * COLUMNS sets one, so that files and pipes get whole names. */
int gk_table_width(void);

/* Returns how many columns s takes: UTF-8, combining marks 0, wide characters 2. */
int gk_display_width(const char *s);

/* Adds s to out, cut in the middle with "…" to at most width columns. */
void gk_cut_middle(gk_text *out, const char *s, int width);

/* Numbers for people; the result is in buf and returned. */
typedef char gk_human[48];
const char  *gk_human_bytes(gk_human buf, uint64_t bytes); /* "539.0 GB", "812 B"           */
const char  *gk_human_both(gk_human buf, uint64_t bytes);  /* "539.0 GB (502.0 GiB)"        */
const char  *gk_human_count(gk_human buf, uint64_t n);     /* "269.5 B", "4.79 M", "812"    */
const char  *gk_human_exact(gk_human buf, uint64_t n);     /* "4,790,528"                   */
const char  *gk_human_time(gk_human buf, double seconds);  /* "7:15", "1:02:03", "1d 2h"    */
const char  *gk_human_share(gk_human buf, uint64_t part, uint64_t all); /* "12.3%", "<0.1%" */

#endif
