/* cmd/plot.c - lines, stairs and fields of colour. */
#include "cmd/plot.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/checked.h"

#define WIDTH  460.0
#define HEIGHT 250.0
#define LEFT   58.0
#define RIGHT  18.0
#define TOP    12.0
#define BOTTOM 40.0
#define MARKS  40 /* points; more are a line alone */

#define MAX_DECADES 12.0

typedef struct frame {
    double x0, x1, y0, y1; /* of the values; y in powers of ten on a log scale */
    bool log_y;
} frame;

void gk_html_text(gk_text *t, const char *s, uint64_t len)
{
    gk_text safe = {0};

    gk_text_escaped(&safe, s, len);
    for (uint64_t i = 0; i < safe.len; i++)
        switch (safe.data[i]) {
        case '&': gk_text_str(t, "&amp;"); break;
        case '<': gk_text_str(t, "&lt;"); break;
        case '>': gk_text_str(t, "&gt;"); break;
        case '"': gk_text_str(t, "&quot;"); break;
        default: gk_text_char(t, safe.data[i]);
        }
    t->failed |= safe.failed;
    gk_text_free(&safe);
}

static void html(gk_text *t, const char *s) { gk_html_text(t, s, strlen(s)); }

void gk_plots_begin(gk_text *t) { gk_text_str(t, "<div class=\"plots\">\n"); }
void gk_plots_end(gk_text *t) { gk_text_str(t, "</div>\n"); }

void gk_plot_legend(gk_text *t, const char *const *name, int n, const char *dashed)
{
    gk_text_str(t, "<ul class=\"legend\">");
    for (int i = 0; i < n; i++) {
        gk_text_printf(t, "<li class=\"c%d\"><i></i>", i % GK_PLOT_COLORS);
        html(t, name[i]);
    }
    if (dashed != NULL) {
        gk_text_str(t, "<li class=\"dashed\"><i></i>");
        html(t, dashed);
    }
    gk_text_str(t, "</ul>\n");
}

/* ---- scales ---------------------------------------------------------------------------- */

static bool shown(const gk_plot *p, double y) { return isfinite(y) && (!p->log_y || y > 0); }

static double x_of(const gk_plot *p, uint64_t i)
{
    return p->axis == GK_AXIS_COUNT ? (double)i : p->first + p->step * (double)i;
}

/* 1, 2 or 5 times a power of ten, so that about n steps span the range. */
static double nice_step(double range, double n)
{
    const double raw = range / n, power = pow(10, floor(log10(raw))), part = raw / power;

    return power * (part <= 1 ? 1 : part <= 2 ? 2 : part <= 5 ? 5 : 10);
}

/* False: nothing to show. */
static bool fit(const gk_plot *p, frame *f)
{
    double least = INFINITY, most = -INFINITY;

    for (int s = 0; s < p->n_series; s++)
        for (uint64_t i = 0; i < p->n; i++) {
            const double y = p->series[s].y[i];
            if (!shown(p, y))
                continue;
            least = y < least ? y : least;
            most = y > most ? y : most;
        }
    if (!(least <= most))
        return false;
    f->log_y = p->log_y;
    if (p->log_y) {
        f->y1 = ceil(log10(most) + 1e-9);
        f->y0 = fmax(floor(log10(least)), f->y1 - MAX_DECADES);
    } else {
        const double step = nice_step(most > 0 ? most : 1, 4);
        f->y0 = 0;
        f->y1 = ceil((most > 0 ? most : 1) / step - 1e-9) * step;
    }
    f->x0 = x_of(p, 0);
    f->x1 = x_of(p, p->n - 1) + (p->stairs ? p->step : 0);
    if (f->x1 <= f->x0) { /* one point, in the middle */
        f->x0 -= 1;
        f->x1 += 1;
    }
    return true;
}

static double at_x(const frame *f, double x)
{
    return LEFT + (x - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}

static double at_y(const frame *f, double y)
{
    const double v = f->log_y ? log10(y) : y;

    return HEIGHT - BOTTOM - (v - f->y0) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

/* ---- axes ------------------------------------------------------------------------------- */

static void y_line(gk_text *t, double y, const char *label)
{
    gk_text_printf(t,
                   "<line x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/><text x=\"%.0f\" "
                   "y=\"%.1f\" class=\"e\">%s</text>\n",
                   LEFT, WIDTH - RIGHT, y, y, LEFT - 6, y + 4, label);
}

static void x_mark(gk_text *t, double x, const char *label)
{
    gk_text_printf(t, "<text x=\"%.1f\" y=\"%.0f\" class=\"m\">%s</text>\n", x,
                   HEIGHT - BOTTOM + 16, label);
}

static void draw_y_axis(gk_text *t, const frame *f)
{
    const double step = f->log_y ? fmax(1, ceil((f->y1 - f->y0) / 5)) : nice_step(f->y1, 4);

    for (double y = f->y0; y <= f->y1 + step / 1e6; y += step) {
        char label[32];
        snprintf(label, sizeof label, f->log_y ? "1e%.0f" : "%g", y);
        y_line(t, at_y(f, f->log_y ? pow(10, y) : y), label);
    }
}

static void draw_x_axis(gk_text *t, const gk_plot *p, const frame *f)
{
    const double range = p->axis == GK_AXIS_COUNT ? (double)p->n - 1 : f->x1 - f->x0;
    const double step = fmax(1, range > 0 ? nice_step(range, 6) : 1);
    const double from = p->axis == GK_AXIS_COUNT ? 0 : f->x0;

    for (double x = from; x <= from + range + 1e-6; x += step) {
        char label[32];
        snprintf(label, sizeof label, p->axis == GK_AXIS_COUNT ? "%.0f" : "1e%.0f", x);
        x_mark(t, at_x(f, x), label);
    }
    gk_text_printf(t, "<text x=\"%.1f\" y=\"%.0f\" class=\"m\">", (LEFT + WIDTH - RIGHT) / 2,
                   HEIGHT - 6);
    html(t, p->x_label);
    gk_text_str(t, "</text>\n");
}

/* ---- lines ------------------------------------------------------------------------------- */

static void draw_line(gk_text *t, const gk_plot *p, const frame *f, const gk_series *s)
{
    bool down = false;

    gk_text_printf(t, "<path class=\"c%d%s\" d=\"", s->color % GK_PLOT_COLORS,
                   s->dashed ? " dashed" : "");
    for (uint64_t i = 0; i < p->n; i++) {
        if (!shown(p, s->y[i])) {
            down = false;
            continue;
        }
        const double x = at_x(f, x_of(p, i)), y = at_y(f, s->y[i]);
        gk_text_printf(t, "%c%.1f %.1f", down ? 'L' : 'M', x, y);
        if (p->stairs)
            gk_text_printf(t, "H%.1f", at_x(f, x_of(p, i) + p->step));
        down = true;
    }
    gk_text_str(t, "\"/>\n");
}

static void draw_marks(gk_text *t, const gk_plot *p, const frame *f, const gk_series *s)
{
    for (uint64_t i = 0; i < p->n; i++) {
        char value[64];
        if (!shown(p, s->y[i]))
            continue;
        snprintf(value, sizeof value, "%.4g", s->y[i]);
        gk_text_printf(t, "<circle class=\"c%d\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"><title>",
                       s->color % GK_PLOT_COLORS, at_x(f, x_of(p, i)), at_y(f, s->y[i]),
                       s->dashed ? "2" : "3");
        html(t, s->name);
        gk_text_printf(t, ", %" PRIu64 ": %s</title></circle>\n", i, value);
    }
}

static void begin_figure(gk_text *t, const char *title, double height)
{
    gk_text_str(t, "<figure><figcaption>");
    html(t, title);
    gk_text_printf(t,
                   "</figcaption>\n<svg class=\"plot\" viewBox=\"0 0 %.0f %.0f\" role=\"img\">"
                   "<title>",
                   WIDTH, height);
    html(t, title);
    gk_text_str(t, "</title>\n");
}

void gk_plot_lines(gk_text *t, const gk_plot *p)
{
    frame f;

    if (p->n == 0 || !fit(p, &f)) {
        gk_text_str(t, "<figure><figcaption>");
        html(t, p->title);
        gk_text_str(t, "</figcaption>\n<p>0 everywhere.</p></figure>\n");
        return;
    }
    begin_figure(t, p->title, HEIGHT);
    draw_y_axis(t, &f);
    draw_x_axis(t, p, &f);
    for (int s = p->n_series; s-- > 0;) {
        draw_line(t, p, &f, &p->series[s]);
        if (p->n <= MARKS && !p->stairs)
            draw_marks(t, p, &f, &p->series[s]);
    }
    gk_text_str(t, "</svg></figure>\n");
}

/* ---- fields of colour ---------------------------------------------------------------------- */

void gk_plot_heat(gk_text *t, const char *title, const char *row, const char *col,
                  const double *value, uint64_t n_rows, uint64_t n_cols, double full)
{
    const double high = n_rows <= 12 ? 20 : n_rows <= 40 ? 12 : 8;
    const double wide = (WIDTH - LEFT - RIGHT) / (double)n_cols;
    const uint64_t every_row = gk_div_up(n_rows * 14, gk_max((uint64_t)high * n_rows, 1));
    const uint64_t every_col = gk_div_up(n_cols, 16);

    if (n_rows == 0 || n_cols == 0)
        return;
    begin_figure(t, title, TOP + high * (double)n_rows + BOTTOM);
    for (uint64_t r = 0; r < n_rows; r++) {
        const double y = TOP + high * (double)r;
        if (r % every_row == 0)
            gk_text_printf(t, "<text x=\"%.0f\" y=\"%.1f\" class=\"e\">%" PRIu64 "</text>\n",
                           LEFT - 6, y + high / 2 + 4, r);
        for (uint64_t c = 0; c < n_cols; c++) {
            const double v = value[r * n_cols + c];
            gk_text_printf(t,
                           "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                           "fill-opacity=\"%.2f\"><title>%s %" PRIu64 ", %s %" PRIu64
                           ": %.3g</title></rect>",
                           LEFT + wide * (double)c, y, wide - fmin(1, wide / 8), high - 1,
                           fmin(1, fmax(0.04, v / full)), row, r, col, c, v);
        }
    }
    for (uint64_t c = 0; c < n_cols; c += every_col)
        gk_text_printf(t, "<text x=\"%.1f\" y=\"%.1f\" class=\"m\">%" PRIu64 "</text>\n",
                       LEFT + wide * ((double)c + 0.5), TOP + high * (double)n_rows + 15, c);
    gk_text_printf(t,
                   "<text x=\"%.1f\" y=\"%.1f\" class=\"m\">%s</text><text x=\"4\" y=\"%.1f\">%s"
                   "</text></svg></figure>\n",
                   (LEFT + WIDTH - RIGHT) / 2, TOP + high * (double)n_rows + 34, col,
                   TOP + high * (double)n_rows + 15, row);
}

#define STRIP      18.0 /* high */
#define STRIP_LEFT 196.0

void gk_plot_strips(gk_text *t, const char *title, const char *const *name, const char *col,
                    const char *what, const double *value, uint64_t n_rows, uint64_t n_cols,
                    double full)
{
    const double wide = (WIDTH - STRIP_LEFT - RIGHT) / (double)gk_max(n_cols, 8);
    const uint64_t every = gk_div_up(n_cols, 8);
    const double bottom = TOP + STRIP * (double)n_rows;

    if (n_rows == 0 || n_cols == 0)
        return;
    begin_figure(t, title, bottom + BOTTOM);
    for (uint64_t r = 0; r < n_rows; r++) {
        const double y = TOP + STRIP * (double)r;
        gk_text_printf(t, "<text x=\"%.0f\" y=\"%.1f\" class=\"e\">", STRIP_LEFT - 6, y + 13);
        html(t, name[r]);
        gk_text_str(t, "</text>\n");
        for (uint64_t c = 0; c < n_cols; c++) {
            const double v = value[r * n_cols + c];
            if (!isfinite(v))
                continue;
            gk_text_printf(t,
                           "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"%s "
                           "fill-opacity=\"%.2f\"><title>",
                           STRIP_LEFT + wide * (double)c, y, wide - fmin(1, wide / 8), STRIP - 2,
                           v < 0 ? " class=\"below\"" : "",
                           fmin(1, fmax(0.08, fabs(v) / full)));
            html(t, name[r]);
            gk_text_printf(t, ", %s %" PRIu64 ": %s %.3g</title></rect>", col, c, what, exp2(v));
        }
    }
    for (uint64_t c = 0; c < n_cols; c += every)
        gk_text_printf(t, "<text x=\"%.1f\" y=\"%.1f\" class=\"m\">%" PRIu64 "</text>\n",
                       STRIP_LEFT + wide * ((double)c + 0.5), bottom + 15, c);
    gk_text_printf(t, "<text x=\"%.1f\" y=\"%.1f\" class=\"e\">%s</text></svg></figure>\n",
                   STRIP_LEFT - 6, bottom + 15, col);
}
