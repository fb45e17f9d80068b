/* cmd/page.c - a report as one HTML page. */
#include "cmd/page.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cmd/plot.h"
#include "formats/output.h"

#define CHART_WIDTH  720.0
#define CHART_HEIGHT 120.0

static const char style[] =
    "<style>\n"
    ":root{color-scheme:light dark}\n"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}\n"
    "h1{font-size:1.5rem;margin:0;overflow-wrap:anywhere}"
    "h2{font-size:1.1rem;margin:2rem 0 .5rem}\n"
    ".verdict{font-size:1.1rem;padding:.5rem 1rem;border-left:.3rem solid;margin:1rem 0}\n"
    ".good{border-color:#2a9d5a}.bad{border-color:#d1483f}\n"
    "dl{display:grid;grid-template-columns:minmax(8rem,15rem) 1fr;gap:.15rem 1.5rem;"
    "margin:.5rem 0}\n"
    "dt{opacity:.7}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}\n"
    "@media(max-width:40rem){dl{grid-template-columns:1fr;gap:0}}\n"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}\n"
    "th,td{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid #8884}\n"
    "td{font-variant-numeric:tabular-nums}.r{text-align:right}\n"
    "svg{width:100%;max-width:45rem;height:auto;display:block}\n"
    ":root{--c0:#2f6fd0;--c1:#c2571a;--c2:#2a8f57;--c3:#8a4fc4;--c4:#a8820f;--c5:#c23b6b;"
    "--c6:#1a8a94;--c7:#6b6b6b;--c8:#7a4a2b}\n"
    "@media(prefers-color-scheme:dark){:root{--c0:#6ea3f5;--c1:#f0935a;--c2:#5fc98d;--c3:#b98cf0;"
    "--c4:#d9b84a;--c5:#f07fa6;--c6:#5cc8d2;--c7:#a8a8a8;--c8:#c79a78}}\n"
    ".c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}"
    ".c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}.c8{--c:var(--c8)}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));"
    "gap:1rem 2rem}figure{margin:0}figcaption{font-weight:600;font-size:.95rem}\n"
    ".plot text{font-size:13px}.plot .e{text-anchor:end}.plot .m{text-anchor:middle}"
    ".plot path{fill:none;stroke:var(--c);stroke-width:2}.plot path.dashed{stroke-dasharray:5 4}"
    ".plot circle{fill:var(--c)}.plot line{stroke:#8884}.plot rect{fill:var(--c0)}"
    ".plot .below{fill:var(--c1)}\n"
    ".legend{list-style:none;display:flex;flex-wrap:wrap;gap:.2rem 1.5rem;padding:0;"
    "margin:.5rem 0;overflow-wrap:anywhere}.legend i{display:inline-block;width:1.5rem;"
    "border-top:3px solid var(--c,currentColor);margin-right:.5rem;vertical-align:middle}"
    ".legend .dashed i{border-top-style:dashed}\n"
    "blockquote{margin:.2rem 0 .6rem;padding-left:.8rem;border-left:2px solid #8886;"
    "overflow-wrap:anywhere}mark{padding:0 .2em}\n"
    "rect{fill:#4a7fd6}text{fill:currentColor;font-size:11px}line{stroke:#8888}\n"
    "footer{margin:3rem 0 1rem;opacity:.6;font-size:.85rem}\n"
    "</style>\n";

static void add(gk_text *t, const char *s)
{
    gk_html_text(t, s, strlen(s));
}

void gk_page_begin(gk_text *t, const gk_cli *cli, const char *verdict, bool good)
{
    gk_text_str(t, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
                   "<meta name=\"viewport\" content=\"width=device-width\">\n<title>grokkit ");
    add(t, cli->command->name);
    gk_text_str(t, "</title>\n");
    gk_text_str(t, style);
    gk_text_str(t, "<h1>grokkit ");
    add(t, cli->command->name);
    for (int i = 0; i < cli->n_args; i++) {
        gk_text_char(t, ' ');
        add(t, cli->arg[i]);
    }
    gk_text_str(t, "</h1>\n");
    if (verdict == NULL)
        return;
    gk_text_printf(t, "<p class=\"verdict %s\">", good ? "good" : "bad");
    add(t, verdict);
    gk_text_str(t, "</p>\n");
}

void gk_page_heading(gk_text *t, const char *text)
{
    gk_text_str(t, "<h2>");
    add(t, text);
    gk_text_str(t, "</h2>\n");
}

void gk_page_fact(gk_text *t, const char *name, const char *fmt, ...)
{
    char value[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(value, sizeof value, fmt, args);
    va_end(args);
    gk_text_str(t, "<dl><dt>");
    add(t, name);
    gk_text_str(t, "</dt><dd>");
    add(t, value);
    gk_text_str(t, "</dd></dl>\n");
}

void gk_page_table(gk_text *t, const gk_table *table)
{
    const char *cell = table->cells.data;
    const uint64_t columns = (uint64_t)table->n_columns;

    if (table->cells.failed) {
        t->failed = true;
        return;
    }
    gk_text_str(t, "<div class=\"wide\"><table>\n<tr>");
    for (uint64_t i = 0; i < columns; i++) {
        gk_text_str(t, table->column[i].right ? "<th class=\"r\">" : "<th>");
        add(t, table->column[i].title);
    }
    for (uint64_t k = 0; k < table->n_cells; k++, cell += strlen(cell) + 1) {
        if (k % columns == 0)
            gk_text_str(t, "\n<tr>");
        gk_text_str(t, table->column[k % columns].right ? "<td class=\"r\">" : "<td>");
        add(t, cell);
    }
    gk_text_str(t, "\n</table></div>\n");
}

void gk_page_bars(gk_text *t, const char *label, const double *value, uint64_t n)
{
    double most = 0;

    for (uint64_t i = 0; i < n; i++)
        most = isfinite(value[i]) && value[i] > most ? value[i] : most;
    if (n == 0 || most <= 0)
        return;
    const double slot = CHART_WIDTH / (double)n;
    gk_text_printf(t, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\"><title>", CHART_WIDTH + 80,
                   CHART_HEIGHT + 34);
    add(t, label);
    gk_text_printf(t, "</title><text x=\"0\" y=\"11\">%.3g</text><line x1=\"60\" x2=\"%.0f\" "
                   "y1=\"%.0f\" y2=\"%.0f\"/>\n", most, CHART_WIDTH + 60, CHART_HEIGHT + 16,
                   CHART_HEIGHT + 16);
    for (uint64_t i = 0; i < n; i++) {
        const double x = 60 + slot * (double)i;
        const double height = isfinite(value[i]) && value[i] > 0 ? value[i] / most * CHART_HEIGHT
                                                                 : 0;
        gk_text_printf(t,
                       "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>%" PRIu64
                       ": %.4g</title></rect>",
                       x + slot * 0.1, CHART_HEIGHT + 16 - height, fmin(slot * 0.8, 60), height, i,
                       value[i]);
        if (n <= 24 || i % (n / 12) == 0)
            gk_text_printf(t, "<text x=\"%.2f\" y=\"%.0f\">%" PRIu64 "</text>", x + slot * 0.1,
                           CHART_HEIGHT + 30, i);
    }
    gk_text_str(t, "</svg>\n");
}

bool gk_page_end(gk_text *t, const char *path, gk_err *err)
{
    gk_text_str(t, "<footer>grokkit " GK_VERSION "</footer>\n</html>\n");
    return gk_text_ok(t, err) && gk_file_put(path, t->data, t->len, err);
}
