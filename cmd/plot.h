/* cmd/plot.h - plots for the HTML pages: inline SVG that reads at any width, light and dark.
 *
 * Drawn 460 units wide, so that its letters stay legible on a telephone; two stand side by side
 * where there is room (gk_plots_begin()). No script: what a mark stands for is its tooltip. */
#ifndef GK_CMD_PLOT_H
#define GK_CMD_PLOT_H

#include "formats/text.h"

#define GK_PLOT_COLORS 9

typedef struct gk_series {
    const char *name; /* for tooltips */
    const double *y;  /* [n] values that are not finite, or not above 0 on a log scale, lack */
    int color;        /* 0 .. GK_PLOT_COLORS - 1 */
    bool dashed;
} gk_series;

typedef enum gk_axis {
    GK_AXIS_COUNT,   /* 0, 1, 2, ... */
    GK_AXIS_DECADES, /* x is a power of ten, from `first` on in steps of `step` */
} gk_axis;

typedef struct gk_plot {
    const char *title, *x_label;
    gk_axis axis;
    double first, step; /* of GK_AXIS_DECADES */
    bool log_y, stairs;
    uint64_t n;
    const gk_series *series;
    int n_series;
} gk_plot;

/* Plots between the two are laid side by side where the page is wide enough. */
void gk_plots_begin(gk_text *t);
void gk_plots_end(gk_text *t);

/* One entry a name (n of them), each in its colour; dashed: what dashes mean, or NULL. */
void gk_plot_legend(gk_text *t, const char *const *name, int n, const char *dashed);

void gk_plot_lines(gk_text *t, const gk_plot *p);

/* A field a value: value[n_rows, n_cols], paler for less, full colour at `full` and above. */
void gk_plot_heat(gk_text *t, const char *title, const char *row, const char *col,
                  const double *value, uint64_t n_rows, uint64_t n_cols, double full);

/* The same with rows that have names; a value that is no number has no field, and one below 0 is
 * another colour. what: of what the tooltips tell. */
void gk_plot_strips(gk_text *t, const char *title, const char *const *name, const char *col,
                    const char *what, const double *value, uint64_t n_rows, uint64_t n_cols,
                    double full);

/* Adds text for HTML: escaped, what a terminal could obey, too. */
void gk_html_text(gk_text *t, const char *s, uint64_t len);

#endif
