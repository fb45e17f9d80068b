/* quant/blocks_search.c - least-squares searches over candidate scales.
 *
 * The order of every addition is part of the format's bytes: a group is summed element by
 * element, and what runs side by side are whole groups, one a lane. Where the bounds of a group
 * show that no product leaves the codes, rounding needs no clamp; where they show that none
 * leaves |x| <= 4194303, it is two additions (gk_nearest()). */
#include "quant/blocks_search.h"

#include <math.h>

#include "quant/blocks_lanes.h"

#define TINY 1e-15f /* a group below this is zero */

/* Elements that are rounded before they are summed: what waits for rounding must not fill the
 * processor's window. */
#define STEP      8
#define HALF_STEP 4

/* How products are rounded to codes. */
typedef enum rounding {
    FREE,    /* all are within the codes                 */
    RAISED,  /* none passes the last code                */
    LOWERED, /* none passes the first                    */
    CLAMPED, /* all are in reach of nearest_small()      */
    ANY,     /* as gk_nearest() makes of large ones, NaN */
} rounding;

/* The code of a product; lo..hi are the codes. */
INLINED lanes code_of(rounding how, lanes product, lanes lo, lanes hi)
{
    lanes l = how == ANY ? nearest_any(product) : nearest_small(product);

    if (how != FREE && how != RAISED)
        l = lower(l, hi);
    return how != FREE && how != LOWERED ? upper(l, lo) : l;
}

/* ---- symmetric ------------------------------------------------------------------ */

#define TRIES 19 /* one divides by half, the others by half - 0.9 .. half + 0.9 */

typedef struct symmetric_state {
    int width;
    float half;
    lanes lo, hi; /* codes without their offset */
    lanes x[GK_SEARCH_MOST], w[GK_SEARCH_MOST], wx[GK_SEARCH_MOST];
    ints zero;
    bool wild;     /* infinities or NaN among x             */
    bool opposite; /* x of the other sign may pass the last code */
    float by[TRIES];
    lanes inv[TRIES], xl[TRIES], ll[TRIES]; /* sums of w * x * code and w * code * code */
} symmetric_state;

static void symmetric_load(symmetric_state *s, int n_groups, const float *x, const float *w)
{
    load_groups(x, n_groups, s->width, s->x);
    if (w != NULL)
        load_groups(w, n_groups, s->width, s->w);
    else
        for (int i = 0; i < s->width; i++)
            s->w[i] = s->x[i] * s->x[i];
    for (int i = 0; i < s->width; i++)
        s->wx[i] = s->w[i] * s->x[i];
}

/* A lane of zeros gets a peak that does no harm. */
static void symmetric_tries(symmetric_state *s)
{
    const lanes peak = extreme_lanes(s->x, s->width);
    lanes other = {0}; /* the largest magnitude of the other sign */
    ints wild = absolute(peak) > 3.40282347e38f;

    for (int i = 0; i < s->width; i++) {
        other = upper((lanes)((ints)s->x[i] ^ (~(ints)peak & INT32_MIN)), other);
        wild |= s->x[i] != s->x[i];
    }
    s->zero = absolute(peak) < TINY;
    const lanes at = pick(s->zero, splat(1), peak);
    for (int n = 0; n < TRIES; n++)
        s->inv[n] = splat(-s->by[n]) / at;
    s->wild = any(wild);
    s->opposite = any(absolute(s->inv[TRIES - 1]) * other >= s->half - 0.51f);
}

INLINED void symmetric_sums(symmetric_state *s, int t, rounding how)
{
    const lanes inv = s->inv[t], lo = s->lo, hi = s->hi;
    lanes xl = {0}, ll = {0}, l[STEP];

    for (int at = 0; at < s->width; at += STEP) {
        for (int i = 0; i < STEP; i++)
            l[i] = code_of(how, inv * s->x[at + i], lo, hi);
        for (int i = 0; i < STEP; i++) {
            xl += s->wx[at + i] * l[i];
            ll += s->w[at + i] * l[i] * l[i];
        }
    }
    s->xl[t] = xl;
    s->ll[t] = ll;
}

/* No product passes what it is divided by, but for a rounding: the extreme passes the first code
 * only where that is half + 0.5 or more, others only when they come close to it. */
static void symmetric_all_sums(symmetric_state *s)
{
    for (int t = 0; t < TRIES; t++) {
        const bool first = s->by[t] > s->half + 0.49f;
        if (s->wild)
            symmetric_sums(s, t, ANY);
        else if (s->opposite && first)
            symmetric_sums(s, t, CLAMPED);
        else if (s->opposite)
            symmetric_sums(s, t, LOWERED);
        else if (first)
            symmetric_sums(s, t, RAISED);
        else
            symmetric_sums(s, t, FREE);
    }
}

static void symmetric_choose(const symmetric_state *s, int n_groups, gk_symmetric_fit *fit)
{
    lanes scale = pick(s->ll[0] != 0, s->xl[0] / s->ll[0], splat(0));
    lanes best = scale * s->xl[0], inv = s->inv[0];

    for (int t = 1; t < TRIES; t++) {
        const ints better = (s->ll[t] > 0) & (s->xl[t] * s->xl[t] > best * s->ll[t]);
        scale = pick(better, s->xl[t] / s->ll[t], scale);
        best = pick(better, scale * s->xl[t], best);
        inv = pick(better, s->inv[t], inv);
    }
    for (int g = 0; g < n_groups; g++)
        fit[g] = (gk_symmetric_fit){s->zero[g] ? 0 : scale[g], inv[g], s->zero[g] != 0};
}

void gk_search_symmetric(const float *x, const float *w, int n_groups, int width, int half,
                         gk_symmetric_fit *fit)
{
    symmetric_state s;

    s.width = width;
    s.half = (float)half;
    s.lo = splat(-(float)half);
    s.hi = splat((float)(half - 1));
    s.by[0] = s.half;
    for (int t = 0; t < 9; t++) {
        s.by[1 + t] = s.half + 0.1f * (float)(t - 9);
        s.by[10 + t] = s.half + 0.1f * (float)(t + 1);
    }
    for (int g = 0; g < n_groups; g += LANES) {
        const int n = n_groups - g < LANES ? n_groups - g : LANES;
        symmetric_load(&s, n, x + g * width, w == NULL ? NULL : w + g * width);
        symmetric_tries(&s);
        symmetric_all_sums(&s);
        symmetric_choose(&s, n, fit + g);
    }
}

void gk_search_symmetric_codes(const float *x, int width, int half, const gk_symmetric_fit *fit,
                               uint8_t *code)
{
    if (fit->zero)
        memset(code, 0, (size_t)width);
    else
        for (int i = 0; i < width; i++)
            code[i] = (uint8_t)(gk_clamp(gk_nearest(fit->inv * x[i]), -half, half - 1) + half);
}

/* ---- affine ---------------------------------------------------------------------- */

/* Sets of lanes that take turns: one set's divisions and tests wait while the other works. */
#define TURNS 2

typedef struct affine_state {
    const gk_affine *how;
    lanes x[GK_SEARCH_MOST], w[GK_SEARCH_MOST], code[GK_SEARCH_MOST];
    lanes above[GK_SEARCH_MOST]; /* x - lo, at least 0                  */
    lanes least, hi;             /* the extremes                        */
    lanes lo;                    /* not above 0; an accepted try moves it */
    ints flat;                   /* no spread                           */
    lanes sum_w, sum_wx;
    lanes scale, error;          /* of the best try so far              */
    lanes best_inv, best_lo;     /* what its codes were made with       */
    lanes inv;                   /* of the try at hand                  */
    lanes sum_l, sum_ll, sum_lx; /* of w, w * code and w * x, times the code */
} affine_state;

static void affine_plain_weights(affine_state *s)
{
    lanes base = {0};

    if (s->how->rms) {
        for (int i = 0; i < s->how->width; i++)
            base += s->x[i] * s->x[i];
        base = square_root(base / (float)s->how->width);
    }
    for (int i = 0; i < s->how->width; i++)
        s->w[i] = base + absolute(s->x[i]);
}

/* The steps of a try are above 0, so a code is never below 0 if x - lo is not. */
static inline void affine_move(affine_state *s, lanes lo)
{
    s->lo = lo;
    for (int i = 0; i < s->how->width; i++)
        s->above[i] = upper(s->x[i] - lo, splat(0));
}

static void affine_load(affine_state *s, int n_groups, const float *x, const float *w)
{
    const int width = s->how->width;

    load_groups(x, n_groups, width, s->x);
    if (w != NULL)
        load_groups(w, n_groups, width, s->w);
    else
        affine_plain_weights(s);
    s->least = s->hi = s->x[0];
    s->sum_w = s->w[0];
    s->sum_wx = s->w[0] * s->x[0];
    for (int i = 1; i < width; i++) {
        s->least = lower(s->x[i], s->least);
        s->hi = upper(s->x[i], s->hi);
        s->sum_w += s->w[i];
        s->sum_wx += s->w[i] * s->x[i];
    }
    affine_move(s, pick(s->least > 0, splat(0), s->least));
    s->flat = s->hi == s->lo;
}

/* A try divides from lo; a lane without spread gets steps that do no harm. Every product lies
 * between those of the least x and of hi: returns whether one is out of nearest_small()'s reach. */
static inline bool affine_invert(affine_state *s, float steps)
{
    s->inv = splat(steps) / pick(s->flat, splat(1), s->hi - s->lo);
    const lanes a = s->inv * (s->least - s->lo), b = s->inv * (s->hi - s->lo);
    const ints small = (absolute(a) <= 4194303.0f) & (absolute(b) <= 4194303.0f) & (s->inv > 0);

    return any(~small);
}

/* The codes of a try and their sums. */
INLINED void affine_sums(affine_state *s, rounding how)
{
    const lanes inv = s->inv, lo = s->lo, top = splat((float)s->how->top);
    lanes sum_l = {0}, sum_ll = {0}, sum_lx = {0}, l[STEP];

    for (int at = 0; at < s->how->width; at += STEP) {
        for (int i = 0; i < STEP; i++) {
            const lanes above = how == ANY ? s->x[at + i] - lo : s->above[at + i];
            l[i] = code_of(how, inv * above, splat(0), top);
        }
        for (int i = 0; i < STEP; i++) {
            const lanes wl = s->w[at + i] * l[i];
            s->code[at + i] = l[i];
            sum_l += wl;
            sum_ll += wl * l[i];
            sum_lx += wl * s->x[at + i];
        }
    }
    s->sum_l = sum_l;
    s->sum_ll = sum_ll;
    s->sum_lx = sum_lx;
}

/* The product of hi is steps but for a rounding: while that is below top + 0.5, none passes top. */
static void affine_round(affine_state s[TURNS], float steps)
{
    bool large = false;

    for (int k = 0; k < TURNS; k++)
        large |= affine_invert(&s[k], steps);
    for (int k = 0; k < TURNS; k++)
        if (large)
            affine_sums(&s[k], ANY);
        else if (steps < (float)s->how->top + 0.49f)
            affine_sums(&s[k], FREE);
        else
            affine_sums(&s[k], LOWERED);
}

/* The weighted error of scale * code + lo, element by element. */
INLINED lanes affine_error_of(const affine_state *s, bool magnitude, lanes scale, lanes lo)
{
    lanes error = {0}, d[HALF_STEP];

    for (int at = 0; at < s->how->width; at += HALF_STEP) {
        for (int i = 0; i < HALF_STEP; i++)
            d[i] = scale * s->code[at + i] + lo - s->x[at + i];
        for (int i = 0; i < HALF_STEP; i++)
            error += s->w[at + i] * (magnitude ? absolute(d[i]) : d[i] * d[i]);
    }
    return error;
}

static inline lanes affine_error(const affine_state *s, lanes scale, lanes lo)
{
    return s->how->absolute ? affine_error_of(s, true, scale, lo)
                            : affine_error_of(s, false, scale, lo);
}

static void affine_begin(affine_state s[TURNS])
{
    affine_round(s, (float)s->how->top);
    for (int k = 0; k < TURNS; k++) {
        s[k].best_inv = s[k].inv;
        s[k].best_lo = s[k].lo;
        s[k].scale = 1 / s[k].inv;
        s[k].error = affine_error(&s[k], s[k].scale, s[k].lo);
    }
}

/* Solves for scale and offset of the codes of a try; returns in which lanes that has a solution. */
static inline ints affine_solve(const affine_state *s, lanes *scale, lanes *lo)
{
    const lanes det = s->sum_w * s->sum_ll - s->sum_l * s->sum_l;

    *scale = (s->sum_w * s->sum_lx - s->sum_wx * s->sum_l) / det;
    *lo = (s->sum_ll * s->sum_wx - s->sum_l * s->sum_lx) / det;
    const ints above = *lo > 0;
    if (any(above)) {
        *lo = pick(above, splat(0), *lo);
        *scale = pick(above, s->sum_lx / s->sum_ll, *scale);
    }
    return (det > 0) & ~s->flat;
}

/* Keeps a try in the lanes where it is better. */
static inline void affine_keep(affine_state *s, ints better, lanes error, lanes scale, lanes lo)
{
    if (!any(better))
        return;
    s->error = pick(better, error, s->error);
    s->scale = pick(better, scale, s->scale);
    s->best_inv = pick(better, s->inv, s->best_inv);
    s->best_lo = pick(better, s->lo, s->best_lo);
    affine_move(s, pick(better, lo, s->lo));
}

static void affine_try(affine_state s[TURNS], float steps)
{
    lanes scale[TURNS], lo[TURNS], error[TURNS];
    ints solved[TURNS];

    affine_round(s, steps);
    for (int k = 0; k < TURNS; k++)
        solved[k] = affine_solve(&s[k], &scale[k], &lo[k]);
    for (int k = 0; k < TURNS; k++)
        error[k] = affine_error(&s[k], scale[k], lo[k]);
    for (int k = 0; k < TURNS; k++)
        affine_keep(&s[k], solved[k] & (error[k] < s[k].error), error[k], scale[k], lo[k]);
}

void gk_search_affine(const gk_affine *how, int n_groups, const float *x, const float *w,
                      gk_affine_fit *fit)
{
    affine_state s[TURNS];

    for (int done = 0, n; done < n_groups; done += n) {
        n = 0;
        for (int k = 0; k < TURNS; k++) { /* a set past the last group repeats one */
            const int left = n_groups - done - n, take = left < LANES ? left : LANES;
            const int from = (done + (take > 0 ? n : 0)) * how->width;
            s[k].how = how;
            affine_load(&s[k], take, x + from, w == NULL ? NULL : w + from);
            n += take;
        }
        affine_begin(s);
        for (int t = 0; t <= how->last_try; t++)
            affine_try(s, how->first + how->step * (float)t + (float)how->top);
        for (int g = 0; g < n; g++) {
            const affine_state *of = &s[g / LANES];
            const int k = g % LANES;
            fit[done + g] = (gk_affine_fit){of->flat[k] ? 0 : of->scale[k], -of->lo[k],
                                            of->best_inv[k], of->best_lo[k], of->flat[k] != 0};
        }
    }
}

void gk_search_affine_codes(const gk_affine *how, const float *x, const gk_affine_fit *fit,
                            uint8_t *code)
{
    if (fit->flat)
        memset(code, 0, (size_t)how->width);
    else
        for (int i = 0; i < how->width; i++)
            code[i] = (uint8_t)gk_clamp(gk_nearest(fit->inv * (x[i] - fit->lo)), 0, how->top);
}

/* ---- sweeps ---------------------------------------------------------------------- */

typedef struct sweep_state {
    int width;
    lanes lo, hi; /* codes without their offset */
    lanes x[GK_SEARCH_MOST], code[GK_SEARCH_MOST];
    lanes xl, ll; /* sums of w * x * code and w * code * code, w = x * x */
    ints zero;
} sweep_state;

static void sweep_begin(sweep_state *s, int n_groups, const float *x)
{
    load_groups(x, n_groups, s->width, s->x);
    const lanes peak = extreme_lanes(s->x, s->width);
    s->zero = absolute(peak) < TINY;
    const lanes inv = pick(s->zero, splat(0), s->lo / peak);
    s->xl = s->ll = splat(0);
    for (int i = 0; i < s->width; i++) {
        s->x[i] = pick(s->zero, splat(0), s->x[i]);
        const lanes at = s->x[i], w = at * at;
        const lanes l = code_of(ANY, inv * at, s->lo, s->hi);
        s->code[i] = l;
        s->xl += w * at * l;
        s->ll += w * l * l;
    }
}

/* Moves each code to the best for the fit of all others, where that gains; a lane in which none
 * moved stays as it is in every later sweep. Returns whether any code moved. */
static bool sweep(sweep_state *s)
{
    ints moved = {0};

    for (int i = 0; i < s->width; i++) {
        const lanes at = s->x[i], w = at * at, old = s->code[i];
        const lanes xl = s->xl - w * at * old, ll = s->ll - w * old * old;
        const lanes l = code_of(ANY, at * ll / xl, s->lo, s->hi);
        const lanes new_xl = xl + w * at * l, new_ll = ll + w * l * l;
        const ints take = (xl > 0) & (l != old) & (new_ll > 0)
                          & (new_xl * new_xl * s->ll > s->xl * s->xl * new_ll);
        s->code[i] = pick(take, l, old);
        s->xl = pick(take, new_xl, s->xl);
        s->ll = pick(take, new_ll, s->ll);
        moved |= take;
    }
    return any(moved);
}

void gk_search_sweeps(const float *x, int n_groups, int width, int half, uint8_t *code,
                      float *scale)
{
    sweep_state s;

    s.width = width;
    s.lo = splat(-(float)half);
    s.hi = splat((float)(half - 1));
    for (int first = 0; first < n_groups; first += LANES) {
        const int n = n_groups - first < LANES ? n_groups - first : LANES;
        sweep_begin(&s, n, x + first * width);
        for (int i = 0; i < 5 && sweep(&s); i++)
            ;
        for (int g = 0; g < n; g++) {
            for (int i = 0; i < width; i++)
                code[(first + g) * width + i] = s.zero[g] ? 0
                                                          : (uint8_t)(s.code[i][g] + (float)half);
            scale[first + g] = s.ll[g] > 0 ? s.xl[g] / s.ll[g] : 0;
        }
    }
}

/* ---- positive: the scales of scales ------------------------------------------- */

/* The candidate whose rounding has the least error; the first rounds without a bound, since
 * it cannot pass top. */
static float positive_inverse(const float *x, const float *w, int n, int top, float most)
{
    float inv = (float)top / most, least = 0;
    const float scale = 1 / inv;

    for (int i = 0; i < n; i++) {
        const float d = x[i] - scale * (float)(uint8_t)gk_nearest(inv * x[i]);
        least += w[i] * d * d;
    }
    for (int t = -4; t <= 4; t++) {
        const float other = (0.1f * (float)t + (float)top) / most, other_scale = 1 / other;
        float error = 0;
        if (t == 0)
            continue;
        for (int i = 0; i < n; i++) {
            const int l = gk_nearest(other * x[i]);
            const float d = x[i] - other_scale * (float)(l < top ? l : top);
            error += w[i] * d * d;
        }
        if (error < least) {
            least = error;
            inv = other;
        }
    }
    return inv;
}

typedef struct moments {
    float xl, ll; /* sums of w * x * code and w * code * code */
} moments;

/* One sweep over the codes, each moved where the fit of all gains. Returns whether any was. */
static bool positive_sweep(const float *x, const float *w, int n, int top, uint8_t *code,
                           moments *m)
{
    bool moved = false;

    for (int i = 0; i < n; i++) {
        const float old = (float)code[i];
        float xl = m->xl - w[i] * x[i] * old, ll = m->ll - w[i] * old * old;
        if (!(xl > 0 && ll > 0))
            continue;
        int l = gk_nearest(x[i] * ll / xl);
        l = l < top ? l : top;
        if (l == code[i])
            continue;
        xl += w[i] * x[i] * (float)l;
        ll += w[i] * (float)l * (float)l;
        if (xl * xl * m->ll > m->xl * m->xl * ll) {
            code[i] = (uint8_t)l;
            *m = (moments){xl, ll};
            moved = true;
        }
    }
    return moved;
}

float gk_search_positive(const float *x, const float *w, int n, int top, uint8_t *code)
{
    moments m = {0, 0};
    float most = 0;

    for (int i = 0; i < n; i++)
        most = most > x[i] ? most : x[i];
    if (most < TINY) {
        memset(code, 0, (size_t)n);
        return 0;
    }
    const float inv = positive_inverse(x, w, n, top, most);
    for (int i = 0; i < n; i++) {
        int l = gk_nearest(inv * x[i]);
        l = l < top ? l : top;
        code[i] = (uint8_t)l;
        m.xl += w[i] * x[i] * (float)l;
        m.ll += w[i] * (float)l * (float)l;
    }
    for (int sweep = 0; sweep < 5 && positive_sweep(x, w, n, top, code, &m); sweep++)
        ;
    return m.ll > 0 ? m.xl / m.ll : 0;
}
