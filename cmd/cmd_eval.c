/* cmd/cmd_eval.c - perplexity, and the drift against another model: options to a job. */
#include "cmd/eval.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd/gate.h"
#include "cmd/input.h"
#include "cmd/progress.h"
#include "cmd/table.h"
#include "formats/output.h"
#include "formats/sealed.h"

#define LARGE_PARAMETERS  UINT64_C(20000000000) /* above: few windows unless asked for more */
#define LARGE_WINDOWS     32

typedef gk_eval job;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- what to read --------------------------------------------------------------- */

/* Adds the file to out, and what identifies it to the list. */
static bool read_source(job *j, const char *path, gk_text *out)
{
    gk_eval_text *row = &j->text[j->n_texts];
    const uint64_t before = out->len;

    if (!gk_read_text(path, out, j->err))
        return false;
    row->name = path;
    row->bytes = out->len - before;
    j->n_texts++;
    return gk_hash_bytes(out->data == NULL ? "" : out->data + before, row->bytes, row->sha256,
                         j->err);
}

/* All texts as one, the way llama-perplexity takes a file: behind a BOS when the model
 * wants one. */
static bool read_texts(job *j)
{
    gk_text all = {0};
    bool ok = (j->tokenizer = gk_tokenizer_open(j->model[0], j->err)) != NULL;

    if (ok)
        j->tokens.has_bos = gk_tokenizer_bos(j->tokenizer, &j->tokens.bos);
    ok = ok && (!j->tokens.has_bos || gk_ids_add(&j->tokens.ids, j->tokens.bos, j->err));
    for (int i = 0; ok && i < gk_cli_count(j->cli, GK_OPT_TEXT); i++)
        ok = read_source(j, gk_cli_nth(j->cli, GK_OPT_TEXT, i), &all);
    ok = ok
         && gk_tokenizer_encode(j->tokenizer, all.data == NULL ? "" : all.data, all.len,
                                &j->tokens.ids, j->err);
    gk_text_free(&all);
    return ok;
}

static bool read_ids(job *j, const char *path)
{
    gk_text text = {0};
    const bool ok = read_source(j, path, &text)
                    && gk_parse_ids(&text, path, &j->tokens.ids, j->err);

    gk_text_free(&text);
    return ok;
}

static bool read_sources(job *j)
{
    const char *ids = gk_cli_string(j->cli, GK_OPT_TOKEN_IDS);
    const int n = gk_cli_count(j->cli, GK_OPT_TEXT);

    j->text = gk_arena_alloc(j->cli->arena, (uint64_t)n + 1, sizeof *j->text, j->err);
    if (j->text == NULL)
        return false;
    return ids != NULL ? read_ids(j, ids) : read_texts(j);
}

/* ---- how to compute --------------------------------------------------------------- */

static bool set_windows(job *j)
{
    gk_forward_options *o = &j->score.forward;
    uint64_t parameters = 0;

    if (!gk_pass_windows(j->cli, &j->tokens, &o->ctx, &j->all_windows, j->err))
        return false;
    for (uint64_t i = 0; i < j->model[0]->n_tensors; i++)
        parameters += gk_rows(&j->model[0]->tensor[i]) * gk_cols(&j->model[0]->tensor[i]);
    o->n_windows = j->all_windows;
    if (gk_cli_has(j->cli, GK_OPT_WINDOWS)) {
        o->n_windows = gk_cli_uint(j->cli, GK_OPT_WINDOWS, 0);
        if (o->n_windows > j->all_windows)
            o->n_windows = j->all_windows;
    } else if (parameters > LARGE_PARAMETERS && o->n_windows > LARGE_WINDOWS) {
        o->n_windows = LARGE_WINDOWS;
        gk_cli_talk(j->cli, "a model this large: the first %d of %" PRIu64 " windows "
                    "(--windows N changes that)", LARGE_WINDOWS, j->all_windows);
    }
    return true;
}

/* Progress counts what is read for all of them. */
static uint64_t bytes_to_read(const job *j, const gk_forward_options *o)
{
    uint64_t bytes = j->base == NULL ? 0 : gk_forward_bytes(j->base, &j->arch, o);

    for (int m = 0; m < j->n_models; m++)
        bytes += (j->score.local ? 2 : 1) * gk_forward_bytes(j->model[m], &j->arch, o);
    return bytes;
}

/* What more memory would save. */
static void announce_memory(const job *j)
{
    const gk_forward_options *o = &j->score.forward;
    gk_forward_options most = *o;
    gk_human bytes, memory;

    if (gk_forward_spills(&j->arch, o))
        gk_cli_talk(j->cli, "activations, %s, go to a file without a name in %s (--spool DIR names "
                    "another place)",
                    gk_human_bytes(bytes, gk_forward_spilled_bytes(&j->arch, o)), o->spool);
    most.memory_bytes = UINT64_MAX;
    if (bytes_to_read(j, &most) < j->bytes)
        gk_cli_talk(j->cli, "weights are read more than once, because so many tokens do not go "
                    "through a layer together: with --memory %.1fG %s would be read",
                    ceil((double)gk_forward_memory(&j->arch, &most) / (1 << 30) * 10) / 10,
                    gk_human_bytes(memory, bytes_to_read(j, &most)));
}

static void announce(const job *j)
{
    const int passes = j->n_models * (j->score.local ? 2 : 1) + (j->base != NULL ? 1 : 0);

    announce_memory(j);
    gk_pass_announce(j->cli, &j->arch, &j->score.forward, passes, j->bytes);
}

static bool write_logits(const job *j, const char *path)
{
    gk_text t = {0};
    char header[128];
    const uint64_t T = j->score.forward.ctx, V = j->arch.sizes.vocab;
    int n = snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': "
                     "(%" PRIu64 ", %" PRIu64 "), }", T, V);

    /* magic, version 1.0, length; the header ends on a multiple of 64 with a newline */
    const unsigned total = (unsigned)((10 + n + 1 + 63) / 64 * 64), len = total - 10;
    gk_text_add(&t, "\x93NUMPY\x01\x00", 8);
    gk_text_char(&t, (char)(len & 0xFF));
    gk_text_char(&t, (char)(len >> 8));
    gk_text_str(&t, header);
    while (t.len + 1 < total && !t.failed)
        gk_text_char(&t, ' ');
    gk_text_char(&t, '\n');
    gk_text_add(&t, j->score.logits, T * V * sizeof(float));
    const bool ok = gk_text_ok(&t, j->err) && gk_file_put(path, t.data, t.len, j->err);
    gk_text_free(&t);
    return ok;
}

/* ---- the command ------------------------------------------------------------------- */

/* The name says which job it is: another job has another file. */
static bool set_state(job *j)
{
    char key[GK_SHA256_HEX];
    const char *dir = gk_cli_string(j->cli, GK_OPT_SPOOL);

    j->score.each_layer = gk_cli_has(j->cli, GK_OPT_RESUME);
    if (dir == NULL)
        dir = gk_pass_cache(j->cli, j->err);
    if (j->err->code != GK_OK)
        return false;
    if (dir == NULL)
        return !j->score.each_layer
               || gk_fail(j->err, GK_ERR_ARG, GK_NO_OFF,
                          "--resume has no place for what it keeps: --spool DIR, or XDG_CACHE_HOME "
                          "or HOME in the environment");
    if (!gk_score_key(&j->score, key, j->err))
        return false;
    j->score.state = gk_arena_printf(j->cli->arena, j->err, "%s/eval-%.16s.state", dir, key);
    return j->score.state != NULL;
}

static void on_kept(void *context, const gk_err *failure)
{
    const job *j = context;
    gk_human bytes;

    if (failure != NULL)
        gk_cli_talk(j->cli, "what is done so far could not be kept: %s: %s",
                    failure->file[0] != '\0' ? failure->file : j->score.state, failure->msg);
    else if (*gk_cli_stop() != 0)
        gk_cli_talk(j->cli, "what is done so far (%s) is kept: the same command with --resume goes "
                    "on; it lies in %s",
                    gk_human_bytes(bytes, gk_path_bytes(j->score.state)), j->score.state);
}

static void on_resumed(void *context, uint64_t layer, const gk_err *damage)
{
    const job *j = context;

    if (damage != NULL)
        gk_cli_talk(j->cli, "starting anew: %s: %s", j->score.state, damage->msg);
    else
        gk_cli_talk(j->cli, "going on in layer %" PRIu64 " of %" PRIu64, layer,
                    j->arch.sizes.layers);
    if (damage == NULL && j->arch.sizes.layers > 0)
        gk_progress_set((uint64_t)((double)j->bytes * (double)layer
                                   / (double)j->arch.sizes.layers));
}

static bool open_models(job *j)
{
    const char *base = gk_cli_string(j->cli, GK_OPT_BASE);
    const int also = gk_cli_count(j->cli, GK_OPT_ALSO);

    for (int m = 0; m <= also; m++) {
        const char *path = m == 0 ? j->cli->arg[0] : gk_cli_nth(j->cli, GK_OPT_ALSO, m - 1);
        gk_arch arch;
        j->model[m] = gk_pass_model(j->cli, path, m == 0 ? &j->arch : &arch, j->err);
        if (j->model[m] == NULL)
            return false;
        j->n_models = m + 1;
        if (!gk_model_digest(j->model[m], false, j->digest[m], j->err))
            return false;
    }
    return base == NULL
           || ((j->base = gk_cli_model_whole(j->cli, base, j->err)) != NULL
               && gk_model_digest(j->base, false, j->base_digest, j->err));
}

static bool prepare(job *j)
{
    gk_forward_options *o = &j->score.forward;

    if (!open_models(j) || !read_sources(j) || !set_windows(j)
        || !gk_pass_switches(j->cli, &j->arch, &o->switches, &j->preset, j->err))
        return false;
    j->protocol = gk_cli_choice(j->cli, GK_OPT_PROTOCOL, 0) == 0 ? "llama" : "paper";
    j->score.protocol = (gk_protocol)gk_cli_choice(j->cli, GK_OPT_PROTOCOL, 0);
    j->score.model = j->model[0];
    j->score.also = (const gk_catalog *const *)(j->model + 1);
    j->score.n_also = j->n_models - 1;
    j->score.base = j->base;
    j->score.ids = j->tokens.ids.id;
    j->score.local = gk_cli_has(j->cli, GK_OPT_LOCAL);
    j->score.kept = on_kept;
    j->score.resumed = on_resumed;
    j->score.context = j;
    o->threads = j->cli->threads;
    o->memory_bytes = j->cli->memory;
    o->n_streams = gk_score_streams(&j->score);
    o->spool = gk_pass_scratch(j->cli);
    o->stop = gk_cli_stop();
    o->progress = gk_pass_progress;
    j->bytes = bytes_to_read(j, o);
    if (gk_cli_has(j->cli, GK_OPT_LOGITS))
        j->score.logits = gk_alloc(o->ctx, j->arch.sizes.vocab * sizeof(float), j->err);
    return j->err->code == GK_OK && set_state(j);
}

static int report(job *j, const gk_score *s)
{
    const char *gate = gk_cli_string(j->cli, GK_OPT_GATE);
    gk_text json = {0}, text = {0};
    int status = GK_EXIT_FINE;

    for (int m = 0; m < s->n_models; m++)
        if (isnan(s->model[m].ppl))
            gk_cli_talk(j->cli, "%s computes no numbers: its perplexity is NaN",
                        s->n_models == 1 ? "the model" : j->model[m]->path);
    gk_eval_json(j, s, &json);
    gk_eval_text_report(j, s, &text);
    if (gate != NULL && json.data != NULL
        && !gk_gate_met(j->cli, gate, json.data, json.len, j->err))
        status = j->err->code == GK_OK ? GK_EXIT_FINDINGS : gk_cli_fail(j->cli, j->err);
    status = gk_cli_emit(j->cli, j->cli->json ? &json : &text, status);
    if (gk_cli_has(j->cli, GK_OPT_HTML) && !gk_eval_page(j, s))
        status = gk_cli_fail(j->cli, j->err);
    gk_text_free(&json);
    gk_text_free(&text);
    return status;
}

static void close_job(job *j)
{
    gk_free(j->score.logits);
    gk_ids_free(&j->tokens.ids);
    gk_tokenizer_close(j->tokenizer);
    for (int m = 0; m < 1 + GK_MAX_ALSO; m++)
        gk_catalog_close(j->model[m]);
    gk_catalog_close(j->base);
}

/* Options that cannot be meant together. Returns 0 when there are none, else the exit status. */
static int refuse(const gk_cli *cli)
{
    if (gk_cli_has(cli, GK_OPT_TEXT) == gk_cli_has(cli, GK_OPT_TOKEN_IDS))
        return gk_cli_usage(cli, "eval takes --text FILE or --token-ids FILE, one of them");
    if (gk_cli_count(cli, GK_OPT_ALSO) > GK_MAX_ALSO)
        return gk_cli_usage(cli, "--also was given %d times; %d models are the limit",
                            gk_cli_count(cli, GK_OPT_ALSO), GK_MAX_ALSO);
    if (gk_cli_has(cli, GK_OPT_BASE))
        return 0;
    if (gk_cli_has(cli, GK_OPT_ALSO))
        return gk_cli_usage(cli, "--also compares more models with the one of --base MODEL");
    if (gk_cli_has(cli, GK_OPT_LOCAL))
        return gk_cli_usage(cli, "--local compares layers with those of --base MODEL");
    return 0;
}

int cmd_eval(const gk_cli *cli)
{
    gk_err err = {0};
    job j = {.cli = cli, .err = &err, .start = now()};
    gk_score score = {0};
    int status = refuse(cli);

    if (status != 0)
        return status;
    bool ok = gk_gate_parse(gk_cli_string(cli, GK_OPT_GATE), &err) && prepare(&j);
    if (ok) {
        announce(&j);
        gk_progress_begin(cli, "evaluating", GK_UNIT_BYTES, j.bytes);
        ok = gk_score_run(&j.score, &score, &err);
        gk_progress_end();
    }
    j.seconds = now() - j.start;
    ok = ok && (j.score.logits == NULL || write_logits(&j, gk_cli_string(cli, GK_OPT_LOGITS)));
    status = ok ? report(&j, &score) : gk_cli_fail(cli, &err);
    if (ok && j.score.state != NULL)
        gk_sealed_remove(j.score.state);
    gk_score_free(&score);
    close_job(&j);
    return status;
}
