/* cmd/eval_page.c - what eval found out, as one page. */
#include "cmd/eval.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "cmd/page.h"
#include "cmd/plot.h"
#include "formats/checked.h"

#define BINS_A_DECADE 4
#define MAX_BINS      (8 * BINS_A_DECADE)
#define WORST         5  /* tokens quoted of a model */
#define QUOTED        24 /* tokens before such a one */

/* ---- facts ------------------------------------------------------------------------------- */

static void add_facts(const gk_eval *j, const gk_score *s, gk_text *t)
{
    const gk_forward_options *o = &j->score.forward;

    gk_page_fact(t, "protocol", "%s, preset %s", j->protocol, j->preset);
    gk_page_fact(t, "windows", "%" PRIu64 " of %" PRIu64 " tokens, %" PRIu64 " tokens scored",
                 o->n_windows, o->ctx, s->n_scored);
    for (int i = 0; i < j->n_texts; i++)
        gk_page_fact(t, "text", "%s, %" PRIu64 " bytes, sha256 %s", j->text[i].name,
                     j->text[i].bytes, j->text[i].sha256);
    for (int m = 0; m < j->n_models; m++)
        gk_page_fact(t, "model", "%s, headers sha256 %s", j->model[m]->path, j->digest[m]);
    if (j->base != NULL)
        gk_page_fact(t, "base", "%s, headers sha256 %s", j->base->path, j->base_digest);
    gk_page_fact(t, "threads", "%d", j->cli->threads);
    gk_page_fact(t, "time", "%.1f s, %.1f tokens/s", j->seconds,
                 (double)(o->ctx * o->n_windows) / j->seconds);
    if (j->base == NULL)
        gk_page_fact(t, "perplexity", "%.6f +- %.6f", s->model[0].ppl, s->model[0].ppl_err);
    else
        gk_page_fact(t, "perplexity of the base", "%.6f +- %.6f", s->base.ppl, s->base.ppl_err);
}

static void add_figures(const gk_eval *j, const gk_score *s, gk_text *t)
{
    gk_column column[GK_EVAL_COLUMNS];
    gk_table table;

    gk_eval_figures(j, s, column, &table);
    gk_page_heading(t, "Against the base");
    gk_page_table(t, &table);
    gk_table_free(&table);
    gk_text_printf(t,
                   "<p>Confident flips: other top tokens among the %" PRIu64 " of %" PRIu64
                   " where the base gives its own more than 0.5. Errors (+-) are standard errors "
                   "over windows.</p>\n",
                   s->n_confident, s->n_scored);
}

/* ---- plots -------------------------------------------------------------------------------- */

static double get_error(const gk_layer_drift *l) { return l->rel_error; }
static double get_local(const gk_layer_drift *l) { return l->local_error; }
static double get_moved(const gk_layer_drift *l) { return 100 * (1 - l->router_agreement); }
static double get_gates(const gk_layer_drift *l) { return 100 * l->gate_drift; }

typedef double get_layer(const gk_layer_drift *l);

/* Lines by layer: one a model, and with `dashed` a second. room has 2 * n_models * n_layers. */
static void plot_layers(const gk_eval *j, const gk_score *s, const char *title, bool log_y,
                        get_layer *get, get_layer *dashed, double *room, gk_text *t)
{
    gk_series series[2 * (1 + GK_MAX_ALSO)];
    gk_plot plot = {
        .title = title, .x_label = "layer", .log_y = log_y, .n = s->n_layers, .series = series};

    for (int k = 0; k < (dashed != NULL ? 2 : 1); k++)
        for (int m = 0; m < j->n_models; m++) {
            double *y = room + (uint64_t)plot.n_series * s->n_layers;
            for (uint64_t l = 0; l < s->n_layers; l++)
                y[l] = k == 0 ? get(&s->model[m].layer[l]) : dashed(&s->model[m].layer[l]);
            series[plot.n_series++] = (gk_series){gk_eval_name(j->model[m]), y, m, k == 1};
        }
    gk_plot_lines(t, &plot);
}

/* Share of tokens by divergence; what is smaller than the first bin lies in it. */
static void plot_histogram(const gk_eval *j, const gk_score *s, double *room, gk_text *t)
{
    gk_series series[1 + GK_MAX_ALSO];
    double most = 0;

    for (int m = 0; m < j->n_models; m++)
        most = fmax(most, s->model[m].kld_max);
    if (!(most > 0) || isinf(most))
        return;
    const double last = ceil(log10(most) + 1e-9), first = last - (double)MAX_BINS / BINS_A_DECADE;
    for (int m = 0; m < j->n_models; m++) {
        double *share = room + m * MAX_BINS;
        memset(share, 0, MAX_BINS * sizeof *share);
        for (uint64_t i = 0; i < s->n_scored; i++) {
            const double at = (log10(s->model[m].token_kld[i]) - first) * BINS_A_DECADE;
            const int bin = at >= 0 ? (int)fmin(at, MAX_BINS - 1) : 0;
            share[bin] += 100 / (double)s->n_scored;
        }
        series[m] = (gk_series){gk_eval_name(j->model[m]), share, m, false};
    }
    gk_plot_lines(t, &(gk_plot){.title = "Tokens by KL divergence, %",
                                .x_label = "KL divergence, "
                                           "nats (the smallest in the first step)",
                                .axis = GK_AXIS_DECADES,
                                .first = first,
                                .step = 1.0 / BINS_A_DECADE,
                                .stairs = true,
                                .n = MAX_BINS,
                                .series = series,
                                .n_series = j->n_models});
}

static void plot_windows(const gk_eval *j, const gk_score *s, gk_text *t)
{
    gk_series series[1 + GK_MAX_ALSO];

    for (int m = 0; m < j->n_models; m++)
        series[m] = (gk_series){gk_eval_name(j->model[m]), s->model[m].window_kld, m, false};
    gk_plot_lines(t, &(gk_plot){.title = "KL divergence along the text, mean of a window, nats",
                                .x_label = "window",
                                .log_y = true,
                                .n = j->score.forward.n_windows,
                                .series = series,
                                .n_series = j->n_models});
}

static void add_plots(const gk_eval *j, const gk_score *s, gk_text *t)
{
    const char *name[1 + GK_MAX_ALSO];
    const uint64_t need = gk_max(2 * s->n_layers, MAX_BINS) * (uint64_t)j->n_models;
    double *room = gk_alloc(need, sizeof *room, j->err);

    if (room == NULL)
        return;
    for (int m = 0; m < j->n_models; m++)
        name[m] = gk_eval_name(j->model[m]);
    gk_page_heading(t, "Layer by layer, and token by token");
    gk_plot_legend(t, name, j->n_models,
                   j->score.local && s->n_experts > 0 ? "dashed: each layer alone; gate drift"
                   : j->score.local                   ? "dashed: each layer alone"
                   : s->n_experts > 0                 ? "dashed: gate drift"
                                                      : NULL);
    gk_plots_begin(t);
    plot_layers(j, s, "Relative error of the residual stream", true, get_error,
                j->score.local ? get_local : NULL, room, t);
    if (s->n_experts > 0)
        plot_layers(j, s, "Tokens whose experts are others, %; gate drift, %", false, get_moved,
                    get_gates, room, t);
    plot_histogram(j, s, room, t);
    plot_windows(j, s, t);
    gk_plots_end(t);
    gk_free(room);
}

/* ---- experts -------------------------------------------------------------------------------- */

static void plot_experts(const gk_score *s, const char *name, const uint64_t *count, double *room,
                         gk_text *t)
{
    for (uint64_t l = 0; l < s->n_layers; l++) {
        uint64_t all = 0;
        for (uint64_t e = 0; e < s->n_experts; e++)
            all += count[l * s->n_experts + e];
        for (uint64_t e = 0; e < s->n_experts; e++)
            room[l * s->n_experts + e] = all == 0 ? 0
                                                  : (double)count[l * s->n_experts + e]
                                                        * (double)s->n_experts / (double)all;
    }
    gk_plot_heat(t, name, "layer", "expert", room, s->n_layers, s->n_experts, 2);
}

static void add_experts(const gk_eval *j, const gk_score *s, gk_text *t)
{
    double *room = gk_alloc(s->n_layers * s->n_experts, sizeof *room, j->err);

    if (room == NULL)
        return;
    gk_page_heading(t, "Use of the experts");
    gk_text_str(t, "<p>Tokens that an expert saw, as a multiple of what each would see if all were "
                   "used alike; full colour is 2 or more.</p>\n");
    gk_plots_begin(t);
    if (s->has_base)
        plot_experts(s, "the base", s->base.experts, room, t);
    for (int m = 0; m < j->n_models; m++)
        plot_experts(s, gk_eval_name(j->model[m]), s->model[m].experts, room, t);
    gk_plots_end(t);
    gk_free(room);
}

/* ---- the worst ------------------------------------------------------------------------------ */

/* Fills in the tokens with the largest divergence, by falling. Returns how many. */
static int find_worst(const gk_score *s, const gk_figures *f, uint64_t worst[WORST])
{
    int n = 0;

    for (uint64_t i = 0; i < s->n_scored; i++) {
        int k = n < WORST ? n++ : WORST;
        if (k == WORST && !(f->token_kld[i] > f->token_kld[worst[WORST - 1]]))
            continue;
        for (k = k == WORST ? WORST - 1 : k; k > 0 && f->token_kld[i] > f->token_kld[worst[k - 1]];
             k--)
            worst[k] = worst[k - 1];
        worst[k] = i;
    }
    return n;
}

static void add_worst(const gk_eval *j, const gk_score *s, int m, gk_text *t)
{
    const gk_figures *f = &s->model[m];
    const uint64_t first = gk_protocol_first(j->score.protocol, j->score.forward.ctx);
    const uint64_t per_window = s->n_scored / j->score.forward.n_windows;
    uint64_t worst[WORST] = {0};
    const int n = find_worst(s, f, worst);

    for (int i = 0; i < n && f->token_kld[worst[i]] > 0; i++) {
        const uint64_t window = worst[i] / per_window, at = first + worst[i] % per_window;
        gk_text before = {0}, token = {0};
        gk_eval_quote(j, window, at, QUOTED, &before, &token);
        gk_text_printf(t,
                       "<div>%.4f nats, window %" PRIu64 ", position %" PRIu64 ", token %" PRIu32
                       "</div>\n",
                       f->token_kld[worst[i]], window, at,
                       j->tokens.ids.id[window * j->score.forward.ctx + at + 1]);
        if (token.data != NULL) {
            gk_text_str(t, "<blockquote>");
            gk_html_text(t, before.data == NULL ? "" : before.data, before.len);
            gk_text_str(t, "<mark>");
            gk_html_text(t, token.data, token.len);
            gk_text_str(t, "</mark></blockquote>\n");
        }
        gk_text_free(&before);
        gk_text_free(&token);
    }
}

/* ---- tables -----------------------------------------------------------------------------------
 */

static void add_model(const gk_eval *j, const gk_score *s, int m, gk_text *t)
{
    gk_text title = {0};

    gk_text_printf(&title, "%s: tokens farthest from the base", gk_eval_name(j->model[m]));
    gk_page_heading(t, title.data == NULL ? "" : title.data);
    add_worst(j, s, m, t);
    gk_text_clear(&title);
    gk_text_printf(&title, "%s: layers", gk_eval_name(j->model[m]));
    gk_page_heading(t, title.data == NULL ? "" : title.data);
    gk_column column[GK_EVAL_LAYER_COLUMNS];
    gk_table table;
    gk_eval_layers(j, s, s->model[m].layer, column, &table);
    gk_page_table(t, &table);
    gk_table_free(&table);
    gk_text_free(&title);
}

bool gk_eval_page(const gk_eval *j, const gk_score *s)
{
    gk_text t = {0};

    gk_page_begin(&t, j->cli, NULL, true);
    add_facts(j, s, &t);
    if (s->has_base) {
        add_figures(j, s, &t);
        add_plots(j, s, &t);
    }
    if (s->n_experts > 0)
        add_experts(j, s, &t);
    for (int m = 0; s->has_base && m < j->n_models; m++)
        add_model(j, s, m, &t);
    const bool ok = j->err->code == GK_OK
                    && gk_page_end(&t, gk_cli_string(j->cli, GK_OPT_HTML), j->err);
    gk_text_free(&t);
    return ok;
}
