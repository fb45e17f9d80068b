/* tests/test_score.c - several models against one base, figures against plain sums over logits,
 * activations in a file, and passes that are left and taken up again. */
#include <math.h>
#include <sys/wait.h>

#include "tests/written.h"

#include "formats/output.h"
#include "formats/sealed.h"
#include "tests/scored.h"

#define WORK    "build/tmp/test_score"
#define STATE   WORK "/state"
#define CTX     32
#define WINDOWS 20 /* two batches */

static gk_catalog *tiny, *four, *eight;
static uint32_t ids[CTX * WINDOWS];

static int open_all(void **state)
{
    (void)state;
    const gk_plan_options o = int_options();
    fresh_dir(WORK);
    write_model(TINY, "default = int4-g64\n", &o, WORK "/four");
    write_model(TINY, "default = int8-g64\n", &o, WORK "/eight");
    tiny = open_whole(TINY);
    four = open_whole(WORK "/four");
    eight = open_whole(WORK "/eight");
    for (uint32_t i = 0, x = 1; i < CTX * WINDOWS; i++) {
        x = x * 1664525u + 1013904223u;
        ids[i] = (x >> 16) % 1024;
    }
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    gk_catalog_close(tiny);
    gk_catalog_close(four);
    gk_catalog_close(eight);
    remove_tree(WORK);
    return 0;
}

static gk_score_job job_for(const gk_catalog *base, const gk_catalog *model)
{
    gk_score_job job = {
        .model = model,
        .base = base,
        .ids = ids,
        .forward = {
            .ctx = CTX, .n_windows = WINDOWS, .threads = 2, .memory_bytes = UINT64_C(1) << 30}};
    assert_true(gk_preset_find("sglang", &job.forward.switches));
    return job;
}

/* ---- the same figures ------------------------------------------------------------------- */

static void expect_bytes(const char *what, const void *a, const void *b, size_t n)
{
    if (memcmp(a, b, n) != 0)
        fail_msg("%s differs", what);
}

#define SAME(member) expect_bytes(#member, &a->member, &b->member, sizeof a->member)

static void expect_figures(const gk_score *s, const gk_figures *a, const gk_figures *b)
{
    SAME(nll), SAME(ppl), SAME(ppl_err), SAME(kld), SAME(delta_ln_ppl), SAME(kld_at), SAME(kld_max);
    SAME(max_window), SAME(max_position), SAME(max_token), SAME(top1), SAME(top5), SAME(n_flips);
    SAME(delta_p), SAME(delta_p_rms);
    expect_bytes("token_kld", a->token_kld, b->token_kld, s->n_scored * sizeof(double));
    expect_bytes("window_kld", a->window_kld, b->window_kld, WINDOWS * sizeof(double));
    expect_bytes("layer", a->layer, b->layer, s->n_layers * sizeof *a->layer);
    expect_bytes("experts", a->experts, b->experts,
                 s->n_layers * s->n_experts * sizeof *a->experts);
}

static void expect_score(const gk_score *a, const gk_score *b)
{
    assert_int_equal(a->n_models, b->n_models);
    expect_bytes("base.ppl", &a->base.ppl, &b->base.ppl, sizeof a->base.ppl);
    assert_int_equal(a->n_confident, b->n_confident);
    for (int m = 0; m < a->n_models; m++)
        expect_figures(a, &a->model[m], &b->model[m]);
}

static void models_side_by_side_get_what_they_get_alone(void **state)
{
    (void)state;
    const gk_catalog *also[] = {eight, tiny};
    gk_score_job job = job_for(tiny, four);
    gk_score alone = run(&job);
    job.also = also;
    job.n_also = 2;
    gk_score both = run(&job);
    job = job_for(tiny, eight);
    gk_score other = run(&job);
    assert_int_equal(both.n_models, 3);
    expect_figures(&both, &both.model[0], &alone.model[0]);
    expect_figures(&both, &both.model[1], &other.model[0]);
    assert_true(both.model[2].kld.mean == 0 && both.model[2].n_flips == 0);
    assert_true(both.model[2].layer[1].rel_error == 0 && both.model[2].layer[1].gate_drift == 0);
    assert_true(both.model[0].kld.mean > 10 * both.model[1].kld.mean);
    gk_score_free(&alone);
    gk_score_free(&both);
    gk_score_free(&other);
}

/* ---- figures ------------------------------------------------------------------------------ */

static float *logits_of(const gk_catalog *model, uint64_t vocab)
{
    gk_err err = {0};
    gk_score_job job = job_for(NULL, model);
    job.forward.n_windows = 1;
    job.logits = gk_alloc(CTX * vocab, sizeof *job.logits, &err);
    gk_score score = run(&job);
    gk_score_free(&score);
    return job.logits;
}

/* p [vocab] of one row; returns the most likely token. */
static uint64_t softmax(const float *z, uint64_t vocab, double *p)
{
    double sum = 0;
    uint64_t top = 0;
    for (uint64_t i = 0; i < vocab; i++)
        top = z[i] > z[top] ? i : top;
    for (uint64_t i = 0; i < vocab; i++)
        sum += p[i] = exp((double)z[i] - (double)z[top]);
    for (uint64_t i = 0; i < vocab; i++)
        p[i] /= sum;
    return top;
}

/* A product of one row more, as there is behind --logits, rounds otherwise. */
static void expect_near(const char *what, double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-3 * fabs(expected) + 1e-6))
        fail_msg("%s is %.12g, the logits say %.12g", what, value, expected);
}

static void figures_are_plain_sums_over_the_logits(void **state)
{
    (void)state;
    enum { V = 1024, N = CTX - 1 };
    static double p[V], q[V], kld[N];
    float *a = logits_of(tiny, V), *b = logits_of(four, V);
    double sum = 0, squares = 0, moved = 0, nll = 0;
    uint64_t worst = 0, confident = 0, flips = 0, same = 0;
    gk_score_job job = job_for(tiny, four);
    job.forward.n_windows = 1;
    job.protocol = GK_PROTOCOL_PAPER;
    gk_score s = run(&job);
    const gk_figures *f = &s.model[0];
    for (uint64_t t = 0; t < N; t++) {
        const uint64_t x = softmax(a + t * V, V, p), y = softmax(b + t * V, V, q);
        kld[t] = 0;
        for (int i = 0; i < V; i++)
            kld[t] += p[i] * log(p[i] / q[i]);
        sum += kld[t];
        worst = kld[t] > kld[worst] ? t : worst;
        same += x == y;
        confident += p[x] > 0.5;
        flips += p[x] > 0.5 && x != y;
        const double d = q[ids[t + 1]] - p[ids[t + 1]];
        moved += d;
        squares += d * d;
        nll += log(p[ids[t + 1]] / q[ids[t + 1]]);
        expect_near("a token's divergence", f->token_kld[t], kld[t]);
    }
    expect_near("kld", f->kld.mean, sum / N);
    expect_near("top1", f->top1, (double)same / N);
    expect_near("delta p", f->delta_p.mean, moved / N);
    expect_near("rms delta p", f->delta_p_rms, sqrt(squares / N));
    expect_near("delta ln ppl", f->delta_ln_ppl.mean, nll / N);
    expect_near("max", f->kld_max, kld[worst]);
    assert_true(f->max_window == 0 && f->max_position == worst && f->max_token == ids[worst + 1]);
    assert_true(s.n_confident == confident && f->n_flips == flips);
    gk_score_free(&s);
    gk_free(a);
    gk_free(b);
}

/* Embeddings stay as they are, so the first layer of both has the same inputs. */
static void a_first_layer_alone_has_all_the_error_there_is(void **state)
{
    (void)state;
    gk_score_job job = job_for(tiny, four);
    gk_score without = run(&job);
    job.local = true;
    gk_score s = run(&job);
    const gk_layer_drift *l = s.model[0].layer, *w = without.model[0].layer;
    assert_true(l[0].local_error == l[0].rel_error && l[0].rel_error > 0);
    assert_true(l[1].local_error > 0 && l[1].local_error < l[1].rel_error);
    assert_true(w[1].local_error == 0 && w[1].rel_error == l[1].rel_error);
    assert_true(w[1].gate_drift == l[1].gate_drift && w[1].gate_drift > 0);
    assert_true(s.model[0].kld.mean == without.model[0].kld.mean);
    expect_bytes("experts", s.model[0].experts, without.model[0].experts,
                 s.n_layers * s.n_experts * sizeof(uint64_t));
    gk_score_free(&s);
    gk_score_free(&without);
}

static void activations_in_a_file_are_the_same_activations(void **state)
{
    (void)state;
    const gk_catalog *also[] = {eight};
    gk_score_job job = job_for(tiny, four);
    gk_arch arch;
    gk_err err = {0};
    job.also = also;
    job.n_also = 1;
    job.local = true;
    job.forward.n_streams = gk_score_streams(&job);
    assert_int_equal(job.forward.n_streams, 4);
    assert_ok(gk_arch_read(tiny->config, &arch, &err), err);
    gk_score first = run(&job);
    job.forward.spool = WORK;
    assert_false(gk_forward_spills(&arch, &job.forward));
    for (int threads = 1; threads <= 3; threads += 2) {
        job.forward.memory_bytes = 1;
        job.forward.threads = threads;
        assert_true(gk_forward_spills(&arch, &job.forward));
        assert_int_equal(gk_forward_spilled_bytes(&arch, &job.forward),
                         4 * CTX * WINDOWS * arch.sizes.hidden * sizeof(float));
        gk_score s = run(&job);
        expect_score(&s, &first);
        gk_score_free(&s);
    }
    assert_int_equal(count_names(WORK, "grokkit"), 0);
    job.forward.spool = WORK "/nowhere";
    gk_score s;
    assert_false(gk_score_run(&job, &s, &err));
    assert_int_equal(err.code, GK_ERR_IO);
    gk_score_free(&s);
    gk_score_free(&first);
}

/* ---- left and taken up --------------------------------------------------------------------- */

static volatile sig_atomic_t stop;
static int calls_left, n_resumed, n_kept, n_damaged;
static char damage_says[512];

static void count_down(void *context, uint64_t n_bytes, const char *what)
{
    (void)context;
    (void)n_bytes;
    (void)what;
    if (__atomic_sub_fetch(&calls_left, 1, __ATOMIC_RELAXED) == 0)
        stop = 1;
}

static void on_resumed(void *context, uint64_t layer, const gk_err *damage)
{
    (void)context;
    (void)layer;
    n_resumed += damage == NULL;
    n_damaged += damage != NULL;
    if (damage != NULL)
        snprintf(damage_says, sizeof damage_says, "%s", damage->msg);
}

static void on_kept(void *context, const gk_err *failure)
{
    (void)context;
    assert_null(failure);
    n_kept++;
}

static gk_score_job stoppable(void)
{
    static const gk_catalog *also[1];
    gk_score_job job = job_for(tiny, four);
    also[0] = eight;
    job.also = also;
    job.n_also = 1;
    job.local = true;
    job.state = STATE;
    job.resumed = on_resumed;
    job.kept = on_kept;
    job.forward.stop = &stop;
    job.forward.progress = count_down;
    stop = 0;
    calls_left = n_resumed = n_kept = n_damaged = 0;
    return job;
}

static bool leave_after(gk_score_job *job, int calls)
{
    gk_score s;
    gk_err err = {0};
    stop = 0;
    calls_left = calls;
    const bool done = gk_score_run(job, &s, &err);
    gk_score_free(&s);
    assert_true(done || err.code == GK_ERR_INTERRUPTED);
    return !done;
}

/* The state that a pass leaves; the job then keeps it after each layer. */
static char *kept_state(gk_score_job *job, uint64_t *len)
{
    gk_err err = {0};
    leave_after(job, 30);
    char *whole = gk_file_slurp(STATE, 1 << 28, len, &err);
    assert_ok(whole != NULL, err);
    job->each_layer = true;
    return whole;
}

/* Wherever a pass is left, also again after being taken up, on other threads, in other memory. */
static void a_pass_goes_on_to_the_same_numbers(void **state)
{
    (void)state;
    gk_score_job job = stoppable();
    gk_score first = run(&job);
    const int all = -calls_left;
    assert_true(all > 20 && n_kept == 0);
    for (int part = 0; part < 6; part++) {
        const int calls = 1 + part * all / 6;
        job = stoppable();
        assert_true(leave_after(&job, calls));
        /* what stops in its first chunk has done nothing */
        assert_true(n_kept == (part > 0) && is_there(STATE) == (part > 0));
        job.each_layer = true;
        job.forward.threads = 1;
        job.forward.spool = WORK;
        job.forward.memory_bytes = 1;
        leave_after(&job, 40);
        job.forward.memory_bytes = 1 << 30;
        stop = calls_left = 0;
        gk_score s = run(&job);
        assert_true(n_resumed == (part > 0 ? 2 : 1) && n_damaged == 0);
        expect_score(&s, &first);
        gk_score_free(&s);
        remove(STATE);
    }
    gk_score_free(&first);
}

static void die(void *context, const gk_err *failure)
{
    (void)context;
    (void)failure;
    _exit(42);
}

static void a_pass_that_was_killed_after_a_layer_goes_on(void **state)
{
    (void)state;
    gk_score_job job = stoppable();
    gk_score first = run(&job);
    remove(STATE);
    job.each_layer = true;
    job.kept = die;
    job.forward.threads = 1; /* the child of a process with threads may start none */
    const pid_t child = fork();
    if (child == 0) {
        gk_score s;
        gk_err err = {0};
        gk_score_run(&job, &s, &err);
        _exit(1);
    }
    int status;
    assert_true(waitpid(child, &status, 0) == child && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    job.kept = on_kept;
    gk_score s = run(&job);
    assert_true(n_resumed == 1 && n_kept == 1); /* one of two layers was left to do */
    expect_score(&s, &first);
    gk_score_free(&s);
    gk_score_free(&first);
    remove(STATE);
}

static void expect_anew(gk_score_job *job, const gk_score *first, const char *says)
{
    n_resumed = n_damaged = 0;
    stop = calls_left = 0;
    gk_score s = run(job);
    assert_true(n_resumed == 0 && n_damaged == 1);
    if (strstr(damage_says, says) == NULL)
        fail_msg("'%s' does not say '%s'", damage_says, says);
    expect_score(&s, first);
    gk_score_free(&s);
}

static void what_is_damaged_or_of_another_job_counts_as_nothing(void **state)
{
    (void)state;
    gk_score_job job = stoppable();
    gk_err err = {0};
    gk_score first = run(&job);
    uint64_t len;
    char *whole = kept_state(&job, &len);
    whole[len / 2] ^= 4;
    assert_ok(gk_file_put(STATE, whole, len, &err), err);
    expect_anew(&job, &first, "damaged");
    whole[len / 2] ^= 4;
    assert_ok(gk_file_put(STATE, whole, len - 1, &err), err);
    expect_anew(&job, &first, "bytes long");
    assert_ok(gk_file_put(STATE, whole, len, &err), err);
    ids[3] ^= 1;
    gk_score_job other = job;
    other.local = true;
    gk_score fresh = run(&(gk_score_job){.model = job.model,
                                         .base = job.base,
                                         .also = job.also,
                                         .n_also = 1,
                                         .ids = ids,
                                         .local = true,
                                         .forward = job.forward});
    expect_anew(&other, &fresh, "another job");
    ids[3] ^= 1;
    gk_score_free(&fresh);
    gk_score_free(&first);
    gk_free(whole);
    remove(STATE);
}

/* Whole, of this job, and made by somebody who means ill: a layer that is none. */
static void a_position_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const uint64_t bad[][3] = {{3, 0, 0}, {2, 2, 0},          {0, 6, 0},
                                      {0, 0, 3}, {UINT64_MAX, 0, 0}, {0, UINT64_MAX, 0}};
    gk_score_job job = stoppable();
    gk_err err = {0};
    gk_score first = run(&job);
    uint64_t len;
    char *whole = kept_state(&job, &len);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memcpy(whole + 8 + 64, bad[i], sizeof bad[i]);
        gk_sealed *f = gk_sealed_create(STATE, &err);
        assert_ok(f != NULL && gk_sealed_add(f, whole + 8, len - 8 - 32, &err), err);
        assert_ok(gk_sealed_commit(f, true, &err), err);
        expect_anew(&job, &first, "another job");
    }
    gk_score_free(&first);
    gk_free(whole);
    remove(STATE);
}

static void a_digest_names_a_model_and_a_key_its_job(void **state)
{
    (void)state;
    char a[GK_SHA256_HEX], b[GK_SHA256_HEX];
    gk_err err = {0};
    gk_score_job job = job_for(tiny, four);
    gk_catalog *again = open_whole(TINY);
    assert_ok(gk_model_digest(tiny, true, a, &err) && gk_model_digest(again, true, b, &err), err);
    assert_string_equal(a, b);
    gk_catalog_close(again);
    assert_ok(gk_model_digest(four, false, b, &err), err);
    assert_string_not_equal(a, b);
    assert_ok(gk_score_key(&job, a, &err), err);
    job.forward.threads = 7;
    job.forward.memory_bytes = 1;
    job.forward.spool = WORK;
    assert_ok(gk_score_key(&job, b, &err), err);
    assert_string_equal(a, b);
    for (int i = 0; i < 6; i++) {
        gk_score_job other = job_for(tiny, four);
        other.local = i == 0;
        other.protocol = i == 1 ? GK_PROTOCOL_PAPER : GK_PROTOCOL_LLAMA;
        other.forward.n_windows -= i == 2;
        other.forward.switches.gelu_tanh ^= i == 3;
        other.base = i == 4 ? eight : other.base;
        ids[7] ^= i == 5;
        assert_ok(gk_score_key(&other, b, &err), err);
        ids[7] ^= i == 5;
        assert_string_not_equal(a, b);
    }
}

static void a_sealed_file_is_whole_or_refused(void **state)
{
    (void)state;
    const char *path = WORK "/deep/er/sealed";
    gk_err err = {0};
    char text[] = "what was written", got[sizeof text];
    uint64_t len;
    gk_sealed *f = gk_sealed_create(path, &err);
    assert_ok(f != NULL && gk_sealed_add(f, text, 5, &err), err);
    assert_ok(gk_sealed_add(f, text + 5, sizeof text - 5, &err), err);
    assert_false(is_there(path));
    assert_ok(gk_sealed_commit(f, true, &err), err);
    f = gk_sealed_open(path, sizeof text, &err);
    assert_ok(f != NULL && gk_sealed_take(f, got, sizeof got, &err), err);
    assert_memory_equal(got, text, sizeof text);
    assert_false(gk_sealed_take(f, got, 1, &err));
    gk_sealed_close(f);
    char *whole = gk_file_slurp(path, 1 << 20, &len, &(gk_err){0});
    assert_int_equal(len, 8 + sizeof text + 32);
    for (uint64_t i = 0; i < len; i++) {
        gk_err cut = {0}, bit = {0}, put = {0};
        assert_ok(gk_file_put(path, whole, i, &put), put);
        assert_null(gk_sealed_open(path, sizeof text, &cut));
        assert_int_equal(cut.code, GK_ERR_FORMAT);
        whole[i] ^= 1;
        assert_ok(gk_file_put(path, whole, len, &put), put);
        assert_null(gk_sealed_open(path, sizeof text, &bit));
        assert_int_equal(bit.code, GK_ERR_FORMAT);
        whole[i] ^= 1;
    }
    gk_free(whole);
    gk_sealed_remove(path);
    assert_false(is_there(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_side_by_side_get_what_they_get_alone),
        cmocka_unit_test(figures_are_plain_sums_over_the_logits),
        cmocka_unit_test(a_first_layer_alone_has_all_the_error_there_is),
        cmocka_unit_test(activations_in_a_file_are_the_same_activations),
        cmocka_unit_test(a_pass_goes_on_to_the_same_numbers),
        cmocka_unit_test(a_pass_that_was_killed_after_a_layer_goes_on),
        cmocka_unit_test(what_is_damaged_or_of_another_job_counts_as_nothing),
        cmocka_unit_test(a_position_that_cannot_be_is_refused),
        cmocka_unit_test(a_digest_names_a_model_and_a_key_its_job),
        cmocka_unit_test(a_sealed_file_is_whole_or_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
