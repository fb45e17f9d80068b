/* cmd/figures_report.h - what audit tells of values: a few lines, JSON, a part of its page. */
#ifndef GK_CMD_FIGURES_REPORT_H
#define GK_CMD_FIGURES_REPORT_H

#include "formats/text.h"
#include "verify/figures.h"

/* Each adds nothing when nothing is known (values were not read). */
void gk_figures_text(const gk_figure_table *f, gk_text *t);

/* "values": [...], "packing": {...} of the document that is open. */
void gk_figures_json(const gk_figure_table *f, gk_text *t);

/* A heading, strips of kind by layer, a table by kind. False: NOMEM. */
bool gk_figures_page(const gk_figure_table *f, gk_text *t, gk_err *err);

#endif
