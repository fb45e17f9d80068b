/* cmd/pass.c - texts, windows, switches and forecasts of a forward pass. */
#include "cmd/pass.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/progress.h"
#include "cmd/table.h"
#include "formats/gguf.h"
#include "quant/blas.h"

#define DEFAULT_CTX 512

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what to read --------------------------------------------------------------- */

bool gk_pass_encode(const gk_catalog *model, const gk_text *text, gk_pass_text *t, gk_err *err)
{
    gk_tokenizer *k = gk_tokenizer_open(model, err);
    bool ok = k != NULL;

    if (ok)
        t->has_bos = gk_tokenizer_bos(k, &t->bos);
    ok = ok && (!t->has_bos || gk_ids_add(&t->ids, t->bos, err))
         && gk_tokenizer_encode(k, text->data == NULL ? "" : text->data, text->len, &t->ids, err);
    gk_tokenizer_close(k);
    return ok;
}

bool gk_pass_ids(const char *path, gk_pass_text *t, gk_err *err)
{
    gk_text text = {0};
    const bool ok = gk_read_text(path, &text, err) && gk_parse_ids(&text, path, &t->ids, err);

    gk_text_free(&text);
    return ok;
}

bool gk_pass_windows(const gk_cli *cli, gk_pass_text *t, uint64_t *ctx, uint64_t *n_windows,
                     gk_err *err)
{
    *ctx = gk_cli_has(cli, GK_OPT_TOKEN_IDS) ? t->ids.n : gk_cli_uint(cli, GK_OPT_CTX, DEFAULT_CTX);
    if (*ctx < 2)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "a window needs two tokens or more");
    *n_windows = t->ids.n / *ctx;
    if (*n_windows == 0)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                       "the text has %" PRIu64 " tokens, not one window of %" PRIu64 " (--ctx)",
                       t->ids.n, *ctx);
    /* as llama-perplexity: every window begins with the BOS */
    for (uint64_t w = 1; t->has_bos && w < *n_windows; w++)
        t->ids.id[w * *ctx] = t->bos;
    return true;
}

gk_catalog *gk_pass_model(const gk_cli *cli, const char *path, gk_arch *a, gk_err *err)
{
    gk_catalog *c = gk_cli_model_whole(cli, path, err);

    if (c == NULL)
        return NULL;
    if (c->config == NULL && c->gguf != NULL)
        gk_fail(err, GK_ERR_UNSUPPORTED, GK_NO_OFF,
                "there is no forward pass for the architecture '%.60s'", c->gguf->arch);
    else if (gk_arch_read(c->config, a, err))
        return c;
    gk_catalog_close(c);
    return NULL;
}

/* ---- how to compute --------------------------------------------------------------- */

/* Where engines agree there is nothing to choose; to name one of them is no mistake. */
static bool refuse_switches(const gk_cli *cli, const gk_arch *a, const char **preset, gk_err *err)
{
    static const gk_opt options[] = {GK_OPT_GELU,       GK_OPT_ROPE,       GK_OPT_ROPE_MAGNITUDE,
                                     GK_OPT_RENORM,     GK_OPT_ROUTER_CAP, GK_OPT_TEMPERATURE,
                                     GK_OPT_FINAL_ORDER};

    *preset = gk_cli_string(cli, GK_OPT_PRESET);
    if (*preset != NULL && strcmp(*preset, "grok1") == 0)
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "--preset grok1 is for Grok: this is %s",
                       a->name);
    if (*preset == NULL)
        *preset = "none";
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
        if (gk_cli_has(cli, options[i]))
            return gk_fail(err, GK_ERR_ARG, GK_NO_OFF,
                           "--%s chooses among the ways in which engines compute Grok: on %s they "
                           "agree",
                           gk_option_get(options[i])->name, a->name);
    return true;
}

bool gk_pass_switches(const gk_cli *cli, const gk_arch *a, gk_switches *s, const char **preset,
                      gk_err *err)
{
    static const gk_rope ropes[] = {GK_ROPE_CONFIG, GK_ROPE_ORIGINAL, GK_ROPE_YARN,
                                    GK_ROPE_YARN_LOG, GK_ROPE_THETA_SCALE};

    if (a->preset == NULL)
        return refuse_switches(cli, a, preset, err);
    *preset = gk_cli_string(cli, GK_OPT_PRESET);
    if (*preset == NULL)
        *preset = a->preset;
    if (!gk_preset_find(*preset, s))
        return gk_fail(err, GK_ERR_ARG, GK_NO_OFF, "unknown preset '%s'", *preset);
    s->gelu_tanh = gk_cli_choice(cli, GK_OPT_GELU, s->gelu_tanh) == 1;
    s->rope_magnitude = gk_cli_choice(cli, GK_OPT_ROPE_MAGNITUDE, s->rope_magnitude) == 1;
    s->renorm = (gk_renorm)gk_cli_choice(cli, GK_OPT_RENORM, (int)s->renorm);
    s->router_cap = gk_cli_choice(cli, GK_OPT_ROUTER_CAP, s->router_cap) == 1;
    s->temperature = gk_cli_choice(cli, GK_OPT_TEMPERATURE, s->temperature) == 1;
    s->cap_first = gk_cli_choice(cli, GK_OPT_FINAL_ORDER, s->cap_first) == 1;
    if (gk_cli_has(cli, GK_OPT_ROPE))
        s->rope = ropes[gk_cli_choice(cli, GK_OPT_ROPE, 0)];
    return true;
}

/* ---- what it will take ------------------------------------------------------------- */

void gk_pass_progress(void *context, uint64_t bytes, const char *what)
{
    (void)context;
    gk_progress_item(what);
    gk_progress_add(bytes);
}

/* Times matrix products of the pass's own shape for a moment. Returns flop a second of one
 * thread, 0 when there is no memory for it. */
static double product_speed(void)
{
    enum { M = 256, N = 256, K = 1024 };
    float *a = gk_alloc(M * K, sizeof *a, NULL), *b = gk_alloc(N * K, sizeof *b, NULL);
    float *c = gk_alloc(M * N, sizeof *c, NULL);
    double speed = 0;

    if (a != NULL && b != NULL && c != NULL && gk_blas_open(NULL)) {
        for (int i = 0; i < M * K; i++)
            a[i] = b[i] = (float)(i % 7 - 3);
        gk_blas_product(M, N, K, a, K, b, K, c, N); /* the first call sets up */
        const double start = now();
        int rounds = 0;
        for (; now() - start < 0.03; rounds++)
            gk_blas_product(M, N, K, a, K, b, K, c, N);
        speed = 2.0 * M * N * K * rounds / (now() - start);
    }
    gk_free(a);
    gk_free(b);
    gk_free(c);
    return speed;
}

void gk_pass_announce(const gk_cli *cli, const gk_arch *a, const gk_forward_options *o,
                      int n_passes, uint64_t weight_bytes)
{
    const double speed = product_speed();
    const gk_grok2 *g = &a->sizes;
    const double tokens = (double)(o->ctx * o->n_windows);
    const double active = (double)g->layers * (double)g->hidden
                              * ((double)(2 * (g->heads + g->kv_heads) * g->head_dim)
                                 + 3.0 * (double)g->dense + 3.0 * (double)(a->top_k * g->moe))
                          + (double)g->hidden * (double)g->vocab;
    const double flops = 2 * active * tokens * n_passes;
    const uint64_t need = gk_forward_memory(a, o);
    gk_human bytes, memory, time;

    if (gk_cli_has(cli, GK_OPT_MEMORY) && need > cli->memory)
        gk_cli_talk(cli, "--memory is less than this needs: %s would help",
                    cli->command->id == GK_CMD_EVAL ? "a smaller --ctx" : "fewer --tokens");
    if (speed <= 0)
        return; /* the pass will say what is missing */
    gk_cli_talk(cli,
                "%" PRIu64 " window%s of %" PRIu64 " tokens, %" PRIu64 " tokens; %s of weights "
                "to read, about %s of memory; about %s of arithmetic (%.0f GFLOP/s a thread, "
                "measured now)",
                o->n_windows, o->n_windows == 1 ? "" : "s", o->ctx, o->n_windows * o->ctx,
                gk_human_bytes(bytes, weight_bytes), gk_human_bytes(memory, need),
                gk_human_time(time, flops / (speed * o->threads)), speed / 1e9);
}

const char *gk_pass_cache(const gk_cli *cli, gk_err *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

    if (cache != NULL && cache[0] == '/') /* others are to be ignored, as its specification says */
        return gk_arena_printf(cli->arena, err, "%s/grokkit", cache);
    if (home != NULL && home[0] == '/')
        return gk_arena_printf(cli->arena, err, "%s/.cache/grokkit", home);
    return NULL;
}

const char *gk_pass_scratch(const gk_cli *cli)
{
    const char *spool = gk_cli_string(cli, GK_OPT_SPOOL), *temporary = getenv("TMPDIR");

    return spool != NULL ? spool
           : temporary != NULL && temporary[0] != '\0' ? temporary : "/var/tmp";
}

void gk_pass_json_mean(gk_text *t, const char *key, gk_mean mean)
{
    gk_json_open(t, key, '{');
    gk_json_real(t, "mean", mean.mean);
    gk_json_real(t, "err", mean.err);
    gk_json_close(t, '}');
}
