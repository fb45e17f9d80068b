/* quant/blocks_search.c - least-squares searches over candidate scales.
 *
 * The order of every addition is part of the format's bytes: a group is summed element by
 * element, and what runs side by side are whole candidates (gk_search_symmetric) or whole
 * groups (gk_search_affine, gk_search_sweeps), one a lane. Loops over lanes hold no branch, so that
 * the compiler can turn them into vectors. */
#include "quant/blocks_search.h"

#include <math.h>

#define TINY 1e-15f /* a group below this is zero */

/* gk_nearest() as a float: what is summed is a float anyway. */
static inline float nearest(float x) { return (float)gk_nearest(x); }

static inline float clamp(float x, float lo, float hi)
{
    x = x < hi ? x : hi;
    return x > lo ? x : lo;
}

/* ---- symmetric: candidates side by side --------------------------------------- */

#define TRIES     19
#define TRY_LANES 20

/* The first of the elements with the largest magnitude. */
static float extreme(const float *x, int n)
{
    float most = 0, found = 0;

    for (int i = 0; i < n; i++)
        if (fabsf(x[i]) > most) {
            most = fabsf(x[i]);
            found = x[i];
        }
    return found;
}

/* One candidate divides by half, the others by half - 0.9 .. half + 0.9. */
static void symmetric_tries(float peak, int half, float *inv)
{
    int n = 0;

    inv[n++] = -(float)half / peak;
    for (int t = -9; t <= 9; t++)
        if (t != 0)
            inv[n++] = -((float)half + 0.1f * (float)t) / peak;
    while (n < TRY_LANES)
        inv[n++] = 0;
}

float gk_search_symmetric(const float *x, const float *w, int n, int half, uint8_t *code)
{
    const float lo = -(float)half, hi = (float)(half - 1);
    const float peak = extreme(x, n);
    float inv[TRY_LANES], xl[TRY_LANES] = {0}, ll[TRY_LANES] = {0};

    if (fabsf(peak) < TINY) {
        memset(code, 0, (size_t)n);
        return 0;
    }
    symmetric_tries(peak, half, inv);
    for (int i = 0; i < n; i++) {
        const float weight = w != NULL ? w[i] : x[i] * x[i];
        const float wx = weight * x[i];
        for (int t = 0; t < TRY_LANES; t++) {
            const float l = clamp(nearest(inv[t] * x[i]), lo, hi);
            xl[t] += wx * l;
            ll[t] += weight * l * l;
        }
    }
    int taken = 0;
    float scale = ll[0] != 0 ? xl[0] / ll[0] : 0, best = scale * xl[0];
    for (int t = 1; t < TRIES; t++)
        if (ll[t] > 0 && xl[t] * xl[t] > best * ll[t]) {
            taken = t;
            scale = xl[t] / ll[t];
            best = scale * xl[t];
        }
    for (int i = 0; i < n; i++)
        code[i] = (uint8_t)(gk_clamp(gk_nearest(inv[taken] * x[i]), -half, half - 1) + half);
    return scale;
}

/* ---- affine: groups side by side ---------------------------------------------- */

#define LANES 8

typedef float lanes[LANES];

typedef struct affine_state {
    const gk_affine *how;
    lanes x[GK_SEARCH_MOST], w[GK_SEARCH_MOST], code[GK_SEARCH_MOST];
    lanes lo, hi; /* an accepted try moves lo                    */
    lanes sum_w, sum_wx;
    lanes scale, error;      /* of the best try so far                      */
    lanes best_inv, best_lo; /* what its codes were made with               */
    bool flat[LANES];        /* no spread                                   */
} affine_state;

static void affine_load(affine_state *s, int n_groups, const float *x, const float *w)
{
    const int width = s->how->width;

    for (int g = 0; g < LANES; g++) {
        const int from = (g < n_groups ? g : 0) * width;
        for (int i = 0; i < width; i++) {
            s->x[i][g] = x[from + i];
            s->w[i][g] = w[from + i];
        }
    }
    for (int g = 0; g < LANES; g++) {
        s->lo[g] = s->hi[g] = s->x[0][g];
        s->sum_w[g] = s->w[0][g];
        s->sum_wx[g] = s->w[0][g] * s->x[0][g];
    }
    for (int i = 1; i < width; i++)
        for (int g = 0; g < LANES; g++) {
            s->lo[g] = s->x[i][g] < s->lo[g] ? s->x[i][g] : s->lo[g];
            s->hi[g] = s->x[i][g] > s->hi[g] ? s->x[i][g] : s->hi[g];
            s->sum_w[g] += s->w[i][g];
            s->sum_wx[g] += s->w[i][g] * s->x[i][g];
        }
    for (int g = 0; g < LANES; g++) {
        s->lo[g] = s->lo[g] > 0 ? 0 : s->lo[g];
        s->flat[g] = s->hi[g] == s->lo[g];
    }
}

/* The weighted error of scale * code + lo, element by element. */
static void affine_error(const affine_state *s, const lanes scale, const lanes lo, lanes error)
{
    const int width = s->how->width;

    memset(error, 0, sizeof(lanes));
    if (s->how->absolute)
        for (int i = 0; i < width; i++)
            for (int g = 0; g < LANES; g++)
                error[g] += s->w[i][g] * fabsf(scale[g] * s->code[i][g] + lo[g] - s->x[i][g]);
    else
        for (int i = 0; i < width; i++)
            for (int g = 0; g < LANES; g++) {
                const float d = scale[g] * s->code[i][g] + lo[g] - s->x[i][g];
                error[g] += s->w[i][g] * (d * d);
            }
}

static void affine_codes(affine_state *s, const lanes inv, const lanes lo)
{
    const float top = (float)s->how->top;

    for (int i = 0; i < s->how->width; i++)
        for (int g = 0; g < LANES; g++)
            s->code[i][g] = clamp(nearest(inv[g] * (s->x[i][g] - lo[g])), 0, top);
}

static void affine_begin(affine_state *s)
{
    for (int g = 0; g < LANES; g++) {
        s->best_inv[g] = (float)s->how->top / (s->hi[g] - s->lo[g]);
        s->best_lo[g] = s->lo[g];
        s->scale[g] = 1 / s->best_inv[g];
    }
    affine_codes(s, s->best_inv, s->best_lo);
    affine_error(s, s->scale, s->lo, s->error);
}

/* One try for all lanes: round, solve for scale and offset, keep what is better. */
static void affine_try(affine_state *s, float steps)
{
    lanes inv, scale, lo, error, sum_l = {0}, sum_ll = {0}, sum_lx = {0}, det;

    for (int g = 0; g < LANES; g++)
        inv[g] = steps / (s->hi[g] - s->lo[g]);
    affine_codes(s, inv, s->lo);
    for (int i = 0; i < s->how->width; i++)
        for (int g = 0; g < LANES; g++) {
            const float wl = s->w[i][g] * s->code[i][g];
            sum_l[g] += wl;
            sum_ll[g] += wl * s->code[i][g];
            sum_lx[g] += wl * s->x[i][g];
        }
    for (int g = 0; g < LANES; g++) {
        det[g] = s->sum_w[g] * sum_ll[g] - sum_l[g] * sum_l[g];
        scale[g] = (s->sum_w[g] * sum_lx[g] - s->sum_wx[g] * sum_l[g]) / det[g];
        lo[g] = (sum_ll[g] * s->sum_wx[g] - sum_l[g] * sum_lx[g]) / det[g];
        if (lo[g] > 0) {
            lo[g] = 0;
            scale[g] = sum_lx[g] / sum_ll[g];
        }
    }
    affine_error(s, scale, lo, error);
    for (int g = 0; g < LANES; g++)
        if (det[g] > 0 && error[g] < s->error[g]) {
            s->error[g] = error[g];
            s->scale[g] = scale[g];
            s->best_inv[g] = inv[g];
            s->best_lo[g] = s->lo[g];
            s->lo[g] = lo[g];
        }
}

static void affine_store(affine_state *s, int n_groups, uint8_t *code, gk_affine_fit *fit)
{
    const int width = s->how->width;

    affine_codes(s, s->best_inv, s->best_lo);
    for (int g = 0; g < n_groups; g++) {
        for (int i = 0; i < width; i++)
            code[g * width + i] = s->flat[g] ? 0 : (uint8_t)s->code[i][g];
        fit[g].scale = s->flat[g] ? 0 : s->scale[g];
        fit[g].min = -s->lo[g];
    }
}

void gk_search_affine(const gk_affine *how, int n_groups, const float *x, const float *w,
                      uint8_t *code, gk_affine_fit *fit)
{
    affine_state s;

    s.how = how;
    for (int g = 0; g < n_groups; g += LANES) {
        const int n = n_groups - g < LANES ? n_groups - g : LANES;
        affine_load(&s, n, x + g * how->width, w + g * how->width);
        affine_begin(&s);
        for (int t = 0; t <= how->last_try; t++)
            affine_try(&s, how->first + how->step * (float)t + (float)how->top);
        affine_store(&s, n, code + g * how->width, fit + g);
    }
}

/* ---- sweeps: groups side by side ---------------------------------------------- */

typedef struct sweep_state {
    int width;
    float lo, hi; /* codes without their offset */
    lanes x[GK_SEARCH_MOST], code[GK_SEARCH_MOST];
    lanes xl, ll; /* sums of w * x * code and w * code * code, w = x * x */
    bool zero[LANES];
} sweep_state;

static void sweep_begin(sweep_state *s, int n_groups, const float *x)
{
    lanes inv;

    for (int g = 0; g < LANES; g++) {
        const float *from = x + (g < n_groups ? g : 0) * s->width;
        const float peak = extreme(from, s->width);
        s->zero[g] = fabsf(peak) < TINY;
        inv[g] = s->zero[g] ? 0 : s->lo / peak;
        s->xl[g] = s->ll[g] = 0;
        for (int i = 0; i < s->width; i++)
            s->x[i][g] = s->zero[g] ? 0 : from[i];
    }
    for (int i = 0; i < s->width; i++)
        for (int g = 0; g < LANES; g++) {
            const float at = s->x[i][g], w = at * at;
            const float l = clamp(nearest(inv[g] * at), s->lo, s->hi);
            s->code[i][g] = l;
            s->xl[g] += w * at * l;
            s->ll[g] += w * l * l;
        }
}

/* Moves each code to the best for the fit of all others, where that gains; a lane in which none
 * moved stays as it is in every later sweep. Returns whether any code moved. */
static bool sweep(sweep_state *s)
{
    int moved = 0;

    for (int i = 0; i < s->width; i++)
        for (int g = 0; g < LANES; g++) {
            const float at = s->x[i][g], w = at * at, old = s->code[i][g];
            const float xl = s->xl[g] - w * at * old, ll = s->ll[g] - w * old * old;
            const float l = clamp(nearest(at * ll / xl), s->lo, s->hi);
            const float new_xl = xl + w * at * l, new_ll = ll + w * l * l;
            const int take = (xl > 0) & (l != old) & (new_ll > 0)
                             & (new_xl * new_xl * s->ll[g] > s->xl[g] * s->xl[g] * new_ll);
            s->code[i][g] = take ? l : old;
            s->xl[g] = take ? new_xl : s->xl[g];
            s->ll[g] = take ? new_ll : s->ll[g];
            moved |= take;
        }
    return moved != 0;
}

void gk_search_sweeps(const float *x, int n_groups, int width, int half, uint8_t *code,
                      float *scale)
{
    sweep_state s;

    s.width = width;
    s.lo = -(float)half;
    s.hi = (float)(half - 1);
    for (int first = 0; first < n_groups; first += LANES) {
        const int n = n_groups - first < LANES ? n_groups - first : LANES;
        sweep_begin(&s, n, x + first * width);
        for (int i = 0; i < 5 && sweep(&s); i++)
            ;
        for (int g = 0; g < n; g++) {
            for (int i = 0; i < width; i++)
                code[(first + g) * width + i] = s.zero[g] ? 0 : (uint8_t)(s.code[i][g] - s.lo);
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
