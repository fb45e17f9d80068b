/* cmd/page.h - a report as one HTML page: no script, no outside file, light and dark.
 *
 * Facts, tables and bar charts (inline SVG) one below the other; everything that comes
 * from files is escaped. */
#ifndef GK_CMD_PAGE_H
#define GK_CMD_PAGE_H

#include "cmd/cli.h"
#include "cmd/table.h"

/* Starts the page; verdict is the sentence below the title (NULL: none), good its colour. */
void gk_page_begin(gk_text *t, const gk_cli *cli, const char *verdict, bool good);

/* A heading; then facts ("name: value"), tables and charts. */
void gk_page_heading(gk_text *t, const char *text);
void gk_page_fact(gk_text *t, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void gk_page_table(gk_text *t, const gk_table *table);

/* One bar a value, from 0 up; label is what a value is ("relative error"), each bar is
 * named by its number. Values that are not finite have no bar. */
void gk_page_bars(gk_text *t, const char *label, const double *value, uint64_t n);

/* Ends the page and writes it to the file --html names: whole or not at all. */
bool gk_page_end(gk_text *t, const char *path, gk_err *err);

#endif
