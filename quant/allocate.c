/* quant/allocate.c - units, a menu for each, what it costs, and the recipe of the choice. */
#include "quant/allocate.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "formats/checked.h"
#include "quant/gguf_mix.h"
#include "quant/gguf_target.h"
#include "quant/kinds.h"
#include "quant/stats.h"
#include "quant/targets.h"
#include "quant/trials.h"

#define SAMPLE   (UINT64_C(4) << 20) /* weights of a unit that are tried          */
#define N_POINTS 14                  /* of the curve                              */
#define N_TRIES  12                  /* plans until headers and padding fit, too  */

/* What a target's engines load, from few bits to many; "keep": as it is. */
static const struct menu {
    const char *target, *scheme[GK_MAX_OPTIONS];
} menus[] = {
    {"gguf",
     {"Q2_K", "Q3_K", "IQ4_XS", "Q4_0", "Q4_K", "IQ4_NL", "Q4_1", "Q5_0", "Q5_K", "Q5_1", "Q6_K",
      "Q8_0", "keep"}},
    {"compressed-tensors",
     {"int4-channel", "int4-g128", "int4-g64", "int4-g32", "int8-channel", "int8-g128", "int8-g32",
      "keep"}},
    {"mlx", {"int4-g128", "int4-g64", "int4-g32", "int8-g128", "int8-g64", "int8-g32", "keep"}},
};

/* A tensor that is chosen for. */
typedef struct member {
    const gk_plan_item *item;
    char kind[GK_KIND_NAME];
    int64_t layer;
    uint64_t unit;
    double tokens;          /* that it sees, among its like            */
    const gk_probe *probe;  /* or NULL                                 */
    double square;          /* of its kind in its layer: tokens x sums */
    double noise;           /* of all that its probe rounded, so taken */
} member;

typedef struct work {
    const gk_catalog *from;
    const gk_recipe *recipe;
    const gk_plan_options *options;
    const gk_goal *goal;
    gk_allocation *out;
    gk_plan *base; /* the plan without a choice */
    gk_arena *arena;
    gk_scheme scheme[GK_MAX_OPTIONS];
    int n_schemes;
    member *member;
    gk_trial *trial; /* [n_members] */
    uint64_t n_members, n_units;
    gk_choice *option; /* [n_units, n_schemes] */
    uint8_t *chosen;
    uint64_t fixed; /* bytes that no choice changes */
    double linear, root; /* see predict() */
} work;

/* ---- units ---------------------------------------------------------------------------- */

static bool is_free(const gk_plan_item *item)
{
    const bool coded = gk_scheme_is_coded(&item->to)
                       || (item->to.kind == GK_SCHEME_CAST && gk_dtype_is_block(item->to.cast));

    return coded && item->why != GK_WHY_RULE && item->from->ndim == 2;
}

/* What engines fuse, or one of a kind: are two of the same unit? */
static bool is_together(const work *w, const member *a, const member *b)
{
    int64_t x, y;
    const gk_fused f = gk_fused_of(a->item->from->name, &x);
    const gk_fused g = gk_fused_of(b->item->from->name, &y);
    const bool gguf = w->options->target->is_gguf;

    switch (w->goal->grain) {
    case GK_GRAIN_MATRIX: return a == b;
    case GK_GRAIN_KIND:
        if (!gguf && f != GK_FUSED_NONE)
            return f == g;
        return strcmp(a->kind, b->kind) == 0;
    case GK_GRAIN_ENGINE: break;
    }
    if (gguf)
        return a->item->entry == b->item->entry;
    return a == b || (f != GK_FUSED_NONE && f == g && x == y);
}

/* A GGUF stacks the experts of a layer: whatever the grain, they are one. */
static bool check_grain(const work *w, gk_err *err)
{
    return w->goal->grain != GK_GRAIN_MATRIX || !w->options->target->is_gguf
           || gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                      "--grain matrix is for safetensors: a GGUF has one type for a stored tensor");
}

static double tokens_of(const work *w, const gk_gguf_model *model, const gk_tensor *t, gk_err *err)
{
    gk_gguf_spot at;

    if (w->options->stats == NULL || !gk_gguf_spot_of(model, t, &at, err))
        return 1;
    return gk_stats_tokens(w->options->stats, at.name, at.at.is_stacked ? at.at.expert : 0);
}

static bool list_members(work *w, gk_err *err)
{
    const gk_plan *p = w->base;
    gk_gguf_model model;

    w->member = gk_arena_alloc(w->arena, p->n_items, sizeof *w->member, err);
    w->trial = gk_arena_alloc(w->arena, p->n_items, sizeof *w->trial, err);
    if (w->member == NULL || w->trial == NULL
        || (w->options->stats != NULL && !gk_gguf_model_read(w->from, &model, err)))
        return false;
    for (uint64_t i = 0; i < p->n_items; i++) {
        member *m = &w->member[w->n_members];
        if (!is_free(&p->item[i]))
            continue;
        m->item = &p->item[i];
        gk_kind_of(m->item->from->name, false, m->kind, &m->layer);
        m->tokens = tokens_of(w, &model, m->item->from, err);
        if (err->code != GK_OK)
            return false;
        m->unit = w->n_units;
        for (uint64_t k = w->n_members; k-- > 0 && m->unit == w->n_units;)
            if (is_together(w, &w->member[k], m))
                m->unit = w->member[k].unit;
        w->n_units += m->unit == w->n_units;
        w->n_members++;
    }
    return w->n_units > 0
           || gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                      "there is nothing to choose for: rules name every matrix, or no scheme fits");
}

/* ---- options ------------------------------------------------------------------------- */

static bool read_menu(work *w, gk_err *err)
{
    const gk_target *target = w->options->target;
    const struct menu *menu = NULL;

    for (size_t i = 0; i < sizeof menus / sizeof menus[0]; i++)
        if (strcmp(menus[i].target, target->name) == 0)
            menu = &menus[i];
    if (menu == NULL)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                       "--target-size and --target-bpw choose among schemes, and %s files hold "
                       "one: use --to compressed-tensors, gguf or mlx", target->name);
    for (int i = 0; i < GK_MAX_OPTIONS && menu->scheme[i] != NULL; i++) {
        gk_scheme *s = &w->scheme[w->n_schemes++];
        if (!gk_scheme_parse(menu->scheme[i], s, err))
            return false;
        s->scales = target->scales;
        s->layout = target->layout == NULL ? NULL : target->layout(s);
    }
    return true;
}

/* Whether a matrix can have that scheme and its engines load it. */
static bool is_open(const work *w, const gk_tensor *t, const gk_scheme *s)
{
    int64_t layer;

    if (s->kind == GK_SCHEME_KEEP)
        return true;
    if (s->kind == GK_SCHEME_CAST)
        return gk_mix_fallback(s->cast, gk_cols(t)) == s->cast;
    if (!gk_scheme_fits(s, t))
        return false;
    /* vLLM 0.24 loads 8-bit experts with one scale a row only (quant/fused.c) */
    return s->bits != 8 || s->group == 0 || w->options->no_engine_check
           || s->layout != &gk_layout_packed
           || gk_fused_of(t->name, &layer) != GK_FUSED_EXPERTS;
}

static uint64_t bytes_of(const work *w, const gk_tensor *t, const gk_scheme *s)
{
    const uint64_t rows = gk_rows(t), cols = gk_cols(t), dim[2] = {rows, cols};
    gk_layout_part part[GK_MAX_PARTS];
    uint64_t bytes = 0;

    if (s->kind == GK_SCHEME_CAST)
        return rows * gk_row_bytes(s->cast, cols);
    if (s->kind == GK_SCHEME_KEEP) {
        const bool values = gk_keeps_values(w->options->target, t);
        return rows * gk_row_bytes(values ? GK_F32 : (gk_dtype)t->dtype, cols);
    }
    const int n = s->layout->parts(s, dim, part);
    for (int i = 0; i < n; i++)
        bytes += part[i].n_rows * gk_row_bytes(part[i].dtype, part[i].n_cols);
    return bytes;
}

/* ---- what they cost ------------------------------------------------------------------- */

static bool measure(work *w, gk_err *err)
{
    uint64_t *weights = gk_arena_alloc(w->arena, w->n_units, sizeof *weights, err);
    const gk_trial_job job = {.from = w->from,
                              .scheme = w->scheme,
                              .n_schemes = w->n_schemes,
                              .method = w->options->method,
                              .threads = w->options->threads,
                              .memory_bytes = w->options->memory_bytes,
                              .stop = w->goal->stop,
                              .progress = w->goal->progress,
                              .context = w->goal->context};

    if (weights == NULL)
        return false;
    for (uint64_t i = 0; i < w->n_members; i++) {
        const gk_tensor *t = w->member[i].item->from;
        weights[w->member[i].unit] += gk_rows(t) * gk_cols(t);
    }
    for (uint64_t i = 0; i < w->n_members; i++) {
        const gk_tensor *t = w->member[i].item->from;
        const uint64_t all = weights[w->member[i].unit], rows = gk_rows(t);
        w->trial[i] = (gk_trial){.tensor = t, .importance = w->member[i].item->importance};
        if (all > SAMPLE)
            w->trial[i].rows = gk_max((uint64_t)((double)rows * (SAMPLE / (double)all)), 1);
        for (int s = 0; s < w->n_schemes; s++)
            w->trial[i].tries[s] = is_open(w, t, &w->scheme[s]);
    }
    return gk_trials_run(&job, w->trial, w->n_members, err);
}

static bool same_kind(const member *a, const member *b)
{
    return a->layer == b->layer && strcmp(a->kind, b->kind) == 0;
}

static const gk_probe *probe_of(const gk_stats *s, const member *m)
{
    for (uint64_t i = 0; s != NULL && i < s->n_probes; i++)
        if (m->layer >= s->probe[i].first && m->layer <= s->probe[i].last
            && strcmp(s->probe[i].kind, m->kind) == 0)
            return &s->probe[i];
    return NULL;
}

/* An expert counts by the tokens it sees, a layer of a probe's by its relative error. */
static void weigh(work *w)
{
    const uint64_t n = w->n_members;

    w->out->is_kld = true;
    for (uint64_t i = 0; i < n; i++) {
        member *m = &w->member[i];
        m->probe = probe_of(w->options->stats, m);
        w->out->is_kld &= m->probe != NULL;
        for (uint64_t k = 0; k < n; k++)
            if (same_kind(&w->member[k], m))
                m->square += w->member[k].tokens * w->trial[k].square;
    }
    for (uint64_t i = 0; w->out->is_kld && i < n; i++)
        for (uint64_t k = 0; k < n; k++)
            if (w->member[k].probe == w->member[i].probe && w->member[k].square > 0)
                w->member[i].noise
                    += w->member[k].tokens * w->trial[k].noise / w->member[k].square;
}

/* KL divergence; without probes the mean relative error of all weights. */
static double cost_of(const work *w, uint64_t i, double error)
{
    const member *m = &w->member[i];
    const gk_trial *t = &w->trial[i];

    if (error <= 0)
        return 0;
    if (w->out->is_kld)
        return m->noise > 0 ? m->probe->kld * (m->tokens * error / m->square) / m->noise : 0;
    const double weights = (double)(gk_rows(t->tensor) * gk_cols(t->tensor));
    return t->square > 0 ? weights / (double)w->base->parameters * error / t->square : 0;
}

static double probe_of_all(const gk_stats *s, const char *kind)
{
    for (uint64_t i = 0; s != NULL && i < s->n_probes; i++)
        if (strcmp(s->probe[i].kind, kind) == 0)
            return s->probe[i].kld;
    return 0;
}

/* Of the sum x of what single errors bring, the divergence of all is linear x + root sqrt(x):
 * routers change their choice at a rate that goes with the error, the rest with its square. Both
 * follow from all layers' matrices at int4 and int8, whose sums x and divergences are known. */
static void fit_growth(work *w)
{
    const double k4 = probe_of_all(w->options->stats, GK_PROBE_ALL4);
    const double k8 = probe_of_all(w->options->stats, GK_PROBE_ALL8);
    double x4 = 0, x8 = 0;

    w->linear = 1;
    for (uint64_t i = 0; w->out->is_kld && i < w->n_members; i++)
        if (w->member[i].layer >= 0) {
            x4 += cost_of(w, i, w->trial[i].noise);
            x8 += cost_of(w, i, w->trial[i].noise8);
        }
    if (!(k4 > 0) || !(k8 > 0) || !(x8 > 0) || !(x8 < x4))
        return;
    /* k4 = linear x4 + root sqrt(x4), k8 likewise */
    w->root = (k8 - k4 * x8 / x4) / (sqrt(x8) - x8 / sqrt(x4));
    if (!(w->root > 0))
        w->root = 0;
    w->linear = (k4 - w->root * sqrt(x4)) / x4;
    if (!(w->linear > 0)) {
        w->linear = k4 / x4;
        w->root = 0;
    }
}

static double predict(const work *w, double x)
{
    return w->linear * x + w->root * sqrt(x);
}

static bool fill_options(work *w, gk_err *err)
{
    const int n = w->n_schemes;

    w->option = gk_arena_alloc(w->arena, w->n_units * (uint64_t)n, sizeof *w->option, err);
    w->chosen = gk_arena_alloc(w->arena, w->n_units, 1, err);
    if (w->option == NULL || w->chosen == NULL)
        return false;
    for (uint64_t i = 0; i < w->n_members; i++)
        for (int s = 0; s < n; s++) {
            gk_choice *o = &w->option[w->member[i].unit * (uint64_t)n + (uint64_t)s];
            if (w->trial[i].tries[s]) {
                o->bytes += bytes_of(w, w->member[i].item->from, &w->scheme[s]);
                o->cost += cost_of(w, i, w->trial[i].error[s]);
            } else {
                o->cost = INFINITY;
            }
        }
    return true;
}

/* ---- the recipe ----------------------------------------------------------------------- */

static void add_escaped(gk_text *t, const char *s, const char *end)
{
    for (; s < end; s++) {
        if (strchr("\\^$.|?*+()[]{}", *s) != NULL)
            gk_text_char(t, '\\');
        gk_text_char(t, *s);
    }
}

/* "^model\.layers\.(0|3)\.self_attn\.q_proj$": of a kind in those layers; NULL: in all. */
static void add_regex(gk_text *t, const char *kind, const char *layers)
{
    bool first = true;

    gk_text_char(t, '^');
    for (const char *star; (star = strchr(kind, '*')) != NULL; kind = star + 1) {
        add_escaped(t, kind, star);
        if (first && layers != NULL)
            gk_text_printf(t, "(%s)", layers);
        else
            gk_text_str(t, "\\d+");
        first = false;
    }
    add_escaped(t, kind, kind + strlen(kind));
    gk_text_char(t, '$');
}

/* Adds the rule of one kind that becomes one scheme. */
static bool add_rule(work *w, gk_recipe *r, const char *kind, int scheme, gk_err *err)
{
    const bool with_expert = w->goal->grain == GK_GRAIN_MATRIX;
    gk_text layers = {0}, rule = {0};
    bool all = true, any = false;
    int64_t last = -1;

    for (uint64_t i = 0; i < w->n_members; i++) {
        char own[GK_KIND_NAME];
        int64_t layer;
        gk_kind_of(w->member[i].item->from->name, with_expert, own, &layer);
        if (strcmp(own, kind) != 0)
            continue;
        if (w->chosen[w->member[i].unit] != scheme) {
            all = false;
            continue;
        }
        if (layer >= 0 && layer != last)
            gk_text_printf(&layers, "%s%" PRId64, layers.len > 0 ? "|" : "", layer);
        last = layer;
        any = true;
    }
    add_regex(&rule, kind, all || layers.len == 0 ? NULL : layers.data);
    gk_text_printf(&rule, "=%s", w->scheme[scheme].name);
    const bool ok = !any || (gk_text_ok(&layers, err) && gk_text_ok(&rule, err)
                             && gk_recipe_rule(r, rule.data, err));
    gk_text_free(&layers);
    gk_text_free(&rule);
    return ok;
}

/* Adds the rules of the choice, kind by kind. */
static bool add_rules(work *w, gk_recipe *r, gk_err *err)
{
    const bool with_expert = w->goal->grain == GK_GRAIN_MATRIX;
    int64_t layer;
    bool ok = true;

    for (uint64_t i = 0; ok && i < w->n_members; i++) {
        char kind[GK_KIND_NAME], other[GK_KIND_NAME];
        bool seen = false;
        gk_kind_of(w->member[i].item->from->name, with_expert, kind, &layer);
        for (uint64_t k = 0; k < i && !seen; k++)
            seen = strcmp(gk_kind_of(w->member[k].item->from->name, with_expert, other, &layer),
                          kind) == 0;
        for (int s = 0; ok && !seen && s < w->n_schemes; s++)
            ok = add_rule(w, r, kind, s, err);
    }
    return ok;
}

/* The plan of what is chosen: behind the user's rules, those of the choice. */
static gk_plan *plan_choice(work *w, gk_err *err)
{
    gk_recipe *r = gk_recipe_copy(w->recipe, err);
    gk_plan *p = r != NULL && add_rules(w, r, err) ? gk_plan_new(w->from, r, w->options, err)
                                                   : NULL;

    gk_recipe_free(r);
    return p;
}

/* ---- the goal -------------------------------------------------------------------------- */

/* Bytes of a plan that the goal counts. Its items are those of the base, in their order. */
static uint64_t counted(const work *w, const gk_plan *p)
{
    uint64_t bytes = 0;

    if (w->goal->bytes > 0)
        return p->output_bytes;
    if (w->options->target->is_gguf)
        return p->shards.tensor_bytes;
    for (uint64_t i = 0; i < w->n_members; i++)
        bytes += p->item[w->member[i].item - w->base->item].bytes;
    return bytes;
}

/* Weights that --target-bpw counts. */
static uint64_t counted_weights(const work *w)
{
    uint64_t n = 0;

    if (w->goal->bytes > 0 || w->options->target->is_gguf)
        return w->base->parameters;
    for (uint64_t i = 0; i < w->n_members; i++)
        n += gk_rows(w->member[i].item->from) * gk_cols(w->member[i].item->from);
    return n;
}

static uint64_t goal_bytes(const work *w)
{
    const double bytes = w->goal->bits * (double)counted_weights(w) / 8;

    if (w->goal->bytes > 0)
        return w->goal->bytes;
    return bytes >= 1e18 ? UINT64_C(1) << 60 : (uint64_t)bytes;
}

static gk_knapsack knapsack(const work *w)
{
    return (gk_knapsack){w->option, w->n_units, w->n_schemes};
}

static bool too_small(const work *w, uint64_t goal, gk_err *err)
{
    const gk_knapsack k = knapsack(w);
    const uint64_t least = w->fixed + gk_knapsack_least(&k);

    return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                   "the target of %" PRIu64 " bytes is too small: with the fewest bits for every "
                   "matrix it takes %" PRIu64 " (%.3f bits a weight)", goal, least,
                   (double)least * 8 / (double)counted_weights(w));
}

/* Chooses until headers and padding, which depend on the choice, fit, too. */
static gk_plan *choose(work *w, gk_err *err)
{
    const gk_knapsack k = knapsack(w);
    const uint64_t goal = goal_bytes(w);
    uint64_t budget = goal > w->fixed ? goal - w->fixed : 0;

    for (int i = 0; i < N_TRIES; i++) {
        if (gk_knapsack_least(&k) > budget) {
            too_small(w, goal, err);
            return NULL;
        }
        if (!gk_knapsack_solve(&k, budget, w->chosen, &w->out->cost, &w->out->bound, err))
            return NULL;
        gk_plan *p = plan_choice(w, err);
        if (p == NULL || counted(w, p) <= goal)
            return p;
        const uint64_t over = counted(w, p) - goal;
        gk_plan_free(p);
        budget -= gk_min(over, budget);
    }
    gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "no choice comes close below the target of %" PRIu64
            " bytes", goal);
    return NULL;
}

/* ---- the report ------------------------------------------------------------------------- */

static bool set_units(work *w, gk_err *err)
{
    gk_allocation *out = w->out;

    out->n_units = w->n_units;
    out->unit = gk_arena_alloc(out->arena, w->n_units, sizeof *out->unit, err);
    if (out->unit == NULL)
        return false;
    for (uint64_t i = 0; i < w->n_members; i++) {
        gk_allocated *u = &out->unit[w->member[i].unit];
        const int s = w->chosen[w->member[i].unit];
        const gk_choice *o = &w->option[w->member[i].unit * (uint64_t)w->n_schemes + (uint64_t)s];
        if (u->n_tensors++ > 0)
            continue;
        u->name = gk_arena_str(out->arena, w->member[i].item->from->name, err);
        u->scheme = gk_arena_str(out->arena, w->scheme[s].name, err);
        u->bytes = o->bytes;
        u->cost = o->cost;
        if (u->name == NULL || u->scheme == NULL)
            return false;
    }
    return true;
}

static bool set_curve(work *w, const gk_plan *p, gk_err *err)
{
    const gk_knapsack k = knapsack(w);
    const uint64_t least = gk_knapsack_least(&k), most = gk_knapsack_most(&k);
    gk_allocation *out = w->out;
    uint64_t chosen = 0;

    out->point = gk_arena_alloc(out->arena, N_POINTS, sizeof *out->point, err);
    if (out->point == NULL)
        return false;
    for (uint64_t u = 0; u < w->n_units; u++)
        chosen += w->option[u * (uint64_t)w->n_schemes + w->chosen[u]].bytes;
    /* half the points in the lowest fifth, where most people look */
    for (int i = 0; i < N_POINTS; i++) {
        const double x = (double)i / (N_POINTS - 1), share = x * x * x * 0.8 + x * 0.2;
        const uint64_t bytes = least + (uint64_t)(share * (double)(most - least));
        out->point[out->n_points++] = (gk_curve_point){
            .bytes = p->output_bytes - chosen + bytes,
            .bits = (double)(counted(w, p) - chosen + bytes) * 8 / (double)counted_weights(w),
            .cost = predict(w, gk_knapsack_bound(&k, bytes))};
    }
    return true;
}

static bool prepare(work *w, gk_err *err)
{
    const gk_plan *p;

    w->out->arena = gk_arena_new(err);
    w->arena = gk_arena_new(err);
    if (w->out->arena == NULL || w->arena == NULL || !read_menu(w, err) || !check_grain(w, err))
        return false;
    p = w->base = gk_plan_new(w->from, w->recipe, w->options, err);
    if (p == NULL || !list_members(w, err) || !measure(w, err))
        return false;
    weigh(w);
    fit_growth(w);
    if (!fill_options(w, err))
        return false;
    w->fixed = counted(w, p);
    for (uint64_t i = 0; i < w->n_members; i++)
        w->fixed -= w->member[i].item->bytes;
    return true;
}

gk_plan *gk_allocate(const gk_catalog *from, const gk_recipe *recipe,
                     const gk_plan_options *options, const gk_goal *goal, gk_allocation *out,
                     gk_err *err)
{
    work w = {.from = from, .recipe = recipe, .options = options, .goal = goal, .out = out};
    gk_plan *p = NULL;

    *out = (gk_allocation){0};
    if (prepare(&w, err) && (p = choose(&w, err)) != NULL) {
        out->target = goal_bytes(&w) + p->output_bytes - counted(&w, p);
        out->cost = predict(&w, out->cost);
        out->bound = predict(&w, out->bound);
        out->bits = (double)counted(&w, p) * 8 / (double)counted_weights(&w);
        out->recipe = gk_arena_str(out->arena, p->recipe, err);
        if (out->recipe == NULL || !set_units(&w, err) || !set_curve(&w, p, err)) {
            gk_plan_free(p);
            p = NULL;
        }
    }
    gk_plan_free(w.base);
    gk_arena_free(w.arena);
    return p;
}

void gk_allocation_free(gk_allocation *a)
{
    gk_arena_free(a->arena);
    *a = (gk_allocation){0};
}
