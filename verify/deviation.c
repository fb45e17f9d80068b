/* verify/deviation.c - tensors whose figures stand out among those of their kind.
 *
 * Robust z: the distance to the median in units of 1.4826 median deviations, which for a Gauss
 * curve are standard deviations. Trained models have layers that stand out (the first and the
 * last, mostly), so z alone says nothing: only a matrix that is wider or narrower by a factor
 * no training leaves behind, as a lost scale or a shifted exponent does, is a warning. */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/checked.h"
#include "verify/figures.h"

#define FEW_MEMBERS 8  /* of a kind: too few to tell */
#define FEW_VALUES  64 /* of a tensor */
#define NOTE_Z      8
#define WARN_Z      16

typedef enum measure { STD, MOST, KURTOSIS, SHIFT, N_MEASURES } measure;

typedef struct measure_row {
    const char *name;
    bool log; /* distances are powers of two */
    bool matrices; /* of vectors nothing is said */
    double floor; /* of the spread: what is nearer than that stands out from nothing */
    double note, warn; /* distances */
} measure_row;

static const measure_row measures[N_MEASURES] = {
    [STD] = {"standard deviation", true, false, 0.05, 3, 5},
    [MOST] = {"largest magnitude", true, false, 0.1, 5, INFINITY},
    [KURTOSIS] = {"kurtosis", true, true, 0.1, 7, INFINITY},
    [SHIFT] = {"mean, in standard deviations,", false, true, 0.01, 1, INFINITY},
};

typedef struct member {
    const char *kind;
    const gk_figures *of;
    double value, far; /* far: distance to the median */
} member;

const char *gk_kind_of_name(gk_arena *a, const char *name, bool experts_only, gk_err *err)
{
    const char *experts = strstr(name, "experts.");
    char *kind = gk_arena_str(a, name, err), *to = kind;
    const char *from = name;

    if (experts_only && experts != NULL) {
        to += kind != NULL ? experts - name : 0;
        from = experts;
    }
    for (; kind != NULL && *from != '\0'; from++) {
        const bool begins = from == name || from[-1] == '.', digit = isdigit((unsigned char)*from);
        if (!digit || (!begins && (to == kind || to[-1] != '#')))
            *to++ = *from;
        else if (begins)
            *to++ = '#';
    }
    if (kind != NULL)
        *to = '\0';
    return kind;
}

static double value_of(const gk_figures *f, measure m)
{
    switch (m) {
    case STD: return log2(f->std);
    case MOST: return log2(f->absmax);
    case KURTOSIS: return log2(f->kurtosis);
    default: return f->std > 0 ? f->mean / f->std : NAN;
    }
}

static int by_kind(const void *a, const void *b)
{
    const member *x = a, *y = b;
    const int order = strcmp(x->kind, y->kind);

    return order != 0 ? order : (x->of > y->of) - (x->of < y->of);
}

static int by_number(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static double median(double *v, uint64_t n)
{
    qsort(v, (size_t)n, sizeof *v, by_number);
    return n % 2 == 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static bool report(const member *m, measure what, gk_severity severity, double z, uint64_t members,
                   bool experts, uint64_t others, gk_findings *f, gk_err *err)
{
    const double shown[N_MEASURES] = {m->of->std, m->of->absmax, m->of->kurtosis, m->value};
    char times[48], more[64] = "";

    if (measures[what].log)
        snprintf(times, sizeof times, "%.3g times", exp2(m->far));
    else
        snprintf(times, sizeof times, "%+.3g from", m->far);
    if (others > 0)
        snprintf(more, sizeof more, "; of %" PRIu64 " others, too, it is far away", others);
    return gk_findings_addf(f, "statistics", severity, NULL, m->of->tensor->name, err,
                            "its %s %.3g is %s the median of %" PRIu64 " %s (robust z %.0f)%s",
                            measures[what].name, shown[what], times, members,
                            experts ? "experts of its layer" : "tensors of its kind", z, more);
}

/* Members of one kind by one measure. room: n numbers. */
static bool judge_kind(member *m, uint64_t n, measure what, bool experts, double *room,
                       gk_findings *f, gk_err *err)
{
    const measure_row *row = &measures[what];
    const member *furthest = NULL;
    uint64_t known = 0, notes = 0;
    bool ok = true;

    for (uint64_t i = 0; i < n; i++) {
        m[i].value = value_of(m[i].of, what);
        if (isfinite(m[i].value) && (!row->matrices || m[i].of->tensor->ndim > 1))
            room[known++] = m[i].value;
        else
            m[i].value = NAN;
    }
    if (known < FEW_MEMBERS)
        return true;
    const double middle = median(room, known);
    for (uint64_t i = 0; i < known; i++)
        room[i] = fabs(room[i] - middle);
    const double spread = fmax(1.4826 * median(room, known), row->floor);
    for (uint64_t i = 0; ok && i < n; i++) {
        m[i].far = m[i].value - middle;
        const double far = fabs(m[i].far), z = far / spread;
        if (!(far >= row->note && z >= NOTE_Z))
            continue;
        if (far >= row->warn && z >= WARN_Z && m[i].of->tensor->ndim > 1) {
            ok = report(&m[i], what, GK_WARN, z, known, experts, 0, f, err);
            continue;
        }
        furthest = furthest == NULL || far > fabs(furthest->far) ? &m[i] : furthest;
        notes++;
    }
    return ok && (furthest == NULL
                  || report(furthest, what, GK_NOTE, fabs(furthest->far) / spread, known, experts,
                            notes - 1, f, err));
}

static bool judge(const gk_figure_table *t, bool experts, member *m, double *room, gk_arena *a,
                  gk_findings *f, gk_err *err)
{
    uint64_t n = 0;
    bool ok = true;

    for (uint64_t i = 0; i < t->n; i++) {
        const gk_figures *of = &t->row[i];
        if (of->n < FEW_VALUES || !(of->std > 0)
            || (experts && strstr(of->tensor->name, "experts.") == NULL))
            continue;
        const char *kind = gk_kind_of_name(a, of->tensor->name, experts, err);
        if (kind == NULL)
            return false;
        m[n++] = (member){.kind = kind, .of = of};
    }
    if (n > 0)
        qsort(m, (size_t)n, sizeof *m, by_kind);
    for (uint64_t i = 0, next; ok && i < n; i = next) {
        for (next = i + 1; next < n && strcmp(m[next].kind, m[i].kind) == 0;)
            next++;
        for (int what = 0; ok && what < N_MEASURES; what++)
            ok = judge_kind(m + i, next - i, (measure)what, experts, room, f, err);
    }
    return ok;
}

bool gk_figures_judge(const gk_figure_table *t, gk_findings *f, gk_err *err)
{
    gk_arena *a = gk_arena_new(err);
    member *m = a == NULL ? NULL : gk_arena_alloc(a, t->n, sizeof *m, err);
    double *room = m == NULL ? NULL : gk_arena_alloc(a, t->n, sizeof *room, err);
    const bool ok = room != NULL && judge(t, false, m, room, a, f, err)
                    && judge(t, true, m, room, a, f, err);

    gk_arena_free(a);
    return ok;
}
