/* quant/run_phases.c - inputs, factors, codes; read quant/phases.h first. */
#include "quant/run_phases.h"

#include "quant/model.h"

/* Of the mean square. GPTQ's authors have 0.01; on grok2-tiny (int4-g128, 40 windows of its text)
 * the KLD was 0.00178, 0.00174, 0.00170, 0.00175 with 0.001, 0.01, 0.03, 0.1. */
#define DAMPING 0.03

static bool is_done(const gk_solving *s, uint64_t i)
{
    const gk_plan_item *item = &s->p->item[i];
    double error, square;

    if (gk_progress_log_whole(s->log, i, &error, &square))
        return true;
    for (uint64_t k = 0; k < item->n_units; k++)
        if (!gk_progress_log_has(s->log, item->first_unit + k))
            return false;
    return true;
}

static bool run_phase(const gk_solving *s, uint32_t phase, uint64_t *n_unsolved, gk_err *err)
{
    const gk_inputs *in = s->inputs;
    const gk_plan *p = s->p;
    bool wanted = false;

    for (uint64_t i = 0; !wanted && i < p->n_items; i++)
        wanted = p->item[i].phase == phase && !is_done(s, i);
    if (!in->phase(in->context, phase, wanted, err))
        return false;
    for (uint64_t i = 0; wanted && i < p->n_items; i++) {
        if (p->item[i].phase != phase)
            continue;
        gk_hessian *h = in->hessian(in->context, p->item[i].from);
        if (h != NULL && !gk_hessian_factor(h, DAMPING, p->options.threads, err))
            return false;
        s->factor[i] = h != NULL && h->damping > 0 ? h : NULL;
        *n_unsolved += s->factor[i] == NULL;
    }
    return s->run(s->context, phase, err);
}

bool gk_run_phases(const gk_solving *job, uint64_t *n_unsolved, gk_err *err)
{
    const gk_inputs *in = job->inputs;
    gk_catalog *back = gk_model_open_whole(job->out, err);
    bool ok = back != NULL && in->begin(in->context, job->p, back, err);

    for (uint32_t phase = 1; ok && phase <= job->p->n_phases; phase++)
        ok = run_phase(job, phase, n_unsolved, err);
    in->end(in->context);
    gk_catalog_close(back);
    return ok;
}
