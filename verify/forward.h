/* verify/forward.h - the real forward pass, layer by layer over all windows.
 *
 * Source of the computation: sglang srt/models/grok.py @031ad4ce for Grok-2, the others as
 * in verify/arch.h; what it is tested against are the float64 references in
 * testdata/reference.
 *
 *   r = Embed[token] * scale                                  r [T, d], all windows
 *   for each layer:
 *     r += N(Attn(N(r; pre_attn)); post_attn)
 *     x  = N(r; pre_ffn)
 *     r += N((MLP(x) + MoE(x)) / sqrt 2; post_ffn)
 *   logits = cap * tanh(head . N(r; norm) * scale / cap)
 *
 * That is Grok-2. Grok-1 has no MLP (and no sqrt 2), Llama and its kin have no MoE and no
 * outer norms: which steps there are follows from the tensors of the architecture.
 *
 * Weights are decoded in row blocks of one matrix, multiplied for all windows at hand
 * and forgotten: memory grows neither with layers nor with the width of a matrix. The
 * residual stream of all windows (T * d * 4 bytes a model) lies in memory, or in a scratch
 * file where memory_bytes is less than that; models that go side by side share the rest.
 *
 * Windows go in batches of max(1, 512 / ctx). The shape of every matrix product depends
 * on its matrix and its batch alone, so results are bit-equal for any number of threads
 * and any amount of memory, which only decide how many batches are in flight. */
#ifndef GK_VERIFY_FORWARD_H
#define GK_VERIFY_FORWARD_H

#include <signal.h>

#include "verify/arch.h"
#include "verify/states.h"

#define GK_MAX_TOP_K 64

typedef struct gk_forward_options {
    gk_switches switches;
    uint64_t    ctx;       /* tokens in a window              */
    uint64_t    n_windows;
    int         threads;
    uint64_t    memory_bytes;
    uint64_t    n_streams; /* that share it, sets of activations; 0 stands for 1 */
    const char *spool; /* where activations go that memory does not hold; NULL: they stay in it */
    const volatile sig_atomic_t *stop;
    /* What a matrix, or two of the same inputs, is about to be multiplied with, the router's
     * among them: batch b is rows [begin[b], begin[b + 1]) of in [.., columns], in the order of
     * the windows. False and *err end the pass. May be NULL. */
    bool (*watch)(void *watcher, const gk_tensor *const w[2], const float *in,
                  const uint64_t *begin, uint64_t n_batches, gk_err *err);
    void *watcher;
    /* Where tensors are read that is_instead() says so of, by their names; NULL: nowhere. */
    const gk_catalog *instead;
    bool (*is_instead)(void *watcher, const gk_tensor *t);
    /* Bytes of weights read since the last call, and what is computed. May be NULL. */
    void (*progress)(void *context, uint64_t bytes, const char *what);
    void *context;
} gk_forward_options;

/* One model on its way through the layers. */
typedef struct gk_stream gk_stream;

/* Starts: checks that the catalog has every tensor in the shape config.json demands,
 * embeds the ids [n_windows, ctx] (each below the vocabulary). The catalog must outlive
 * the stream. NULL and *err. */
gk_stream *gk_stream_new(const gk_catalog *model, const gk_forward_options *options,
                         const uint32_t *ids, gk_err *err);

/* The same for another model and the same ids and options, with the buffers of `first` where its
 * widths are the same: of the two one is at work at a time, and `first` is freed last. */
gk_stream *gk_stream_beside(gk_stream *first, const gk_catalog *model, const uint32_t *ids,
                            gk_err *err);
void       gk_stream_free(gk_stream *s);

const gk_arch *gk_stream_arch(const gk_stream *s);

/* Fills the residual stream with the f32 of a file, what an earlier run had after layer l: the
 * next to run is l + 1. False: IO. */
bool gk_stream_restore(gk_stream *s, const gk_file *f, gk_err *err);

/* Runs layer l, in order. */
bool gk_stream_layer(gk_stream *s, uint64_t l, gk_err *err);

/* Half of a layer: attention, or what comes behind it. */
typedef enum gk_half { GK_HALF_ATTENTION, GK_HALF_FFN } gk_half;

/* How far. Up to where watch() has seen the inputs of the first matrices (q k v; gate, up and
 * experts' w1, w3) or of the last (o; down and w2), the stream is left as it is. */
typedef enum gk_until { GK_UNTIL_FIRST, GK_UNTIL_LAST, GK_UNTIL_END } gk_until;

/* Runs the first half of layer l and then the second, each as often as one likes until it is
 * run to its end. */
bool gk_stream_half(gk_stream *s, uint64_t l, gk_half half, gk_until until, gk_err *err);

typedef struct gk_layer_part {
    uint64_t         layer;
    gk_half          half;
    gk_until         until;
    const gk_stream *choice;
} gk_layer_part;

/* Runs a half, not to its end, for some batches from *batch on, as many as go at once, and counts
 * *batch up by them, to gk_stream_batches(). Experts are those that the stream `choice` chose for
 * these tokens when it was there; NULL: its own choice. */
bool gk_stream_part(gk_stream *s, const gk_layer_part *part, uint64_t *batch, gk_err *err);

uint64_t gk_stream_batches(const gk_stream *s);

/* A whole layer, batch by batch in an order that can be left and taken up again. */
typedef struct gk_layer_run {
    uint64_t layer;
    uint64_t batch; /* where to begin; after a false, what is not done yet */
    /* Inputs of another stream, whose outputs are shown and forgotten; NULL: its own. */
    const gk_states *from;
    gk_states       *inputs; /* gets a copy of what goes in; or NULL */
    /* Is shown outputs: rows [row, row + n) in the order of the text. May be NULL. */
    bool (*done)(void *context, uint64_t row, uint64_t n, const float *out, gk_err *err);
    void *context;
} gk_layer_run;

bool gk_stream_run(gk_stream *s, gk_layer_run *run, gk_err *err);

/* The residual stream [n_windows * ctx, d]; after layer l it is l's output. */
gk_states *gk_stream_states(gk_stream *s);

/* The same as an array, row-major; NULL when it does not lie in memory. */
const float *gk_stream_residual(const gk_stream *s);

/* Two buffers of gk_stream_slab() rows, free between layers. */
uint64_t gk_stream_slab(const gk_stream *s);
float   *gk_stream_buffer(const gk_stream *s, int i);

/* Makes room for a set of rows beside the stream's, in memory if those are. */
bool gk_stream_more_states(gk_stream *s, gk_states *rows, gk_err *err);

/* The experts that the last layer chose, [n_windows * ctx, top_k], by falling weight; their
 * weights; the probabilities of all experts that it chose from, [n_windows * ctx, experts]; how
 * many tokens each expert has seen in layer l [experts]. */
uint16_t    *gk_stream_chosen(const gk_stream *s);
const float *gk_stream_weights(const gk_stream *s);
float       *gk_stream_gates(const gk_stream *s);
uint64_t    *gk_stream_counts(const gk_stream *s, uint64_t l);

/* Replaces the residual stream by N(r; model.norm), after the last layer. */
bool gk_stream_finish(gk_stream *s, gk_err *err);

/* Computes logits of n models block by block of the vocabulary. `row` names n_rows rows of the
 * final stream in batches: batch b is rows [begin[b], begin[b + 1]). take() is called for each
 * (block, batch) in block order for one batch, from any thread. Logits are row-major, n_ids a
 * row, capped and scaled; id is the first of the block. */
typedef struct gk_logit_block {
    float *const *logits; /* of each model [n_rows, n_ids] */
    int           n_models;
    uint64_t      row, n_rows, id, n_ids;
} gk_logit_block;

typedef struct gk_logit_job {
    const uint64_t *row;   /* indices into the stream */
    const uint64_t *begin; /* n_batches + 1           */
    uint64_t        n_batches;
    void (*take)(void *context, const gk_logit_block *block);
    void *context;
} gk_logit_job;

bool gk_streams_logits(gk_stream *const *s, int n, const gk_logit_job *job, gk_err *err);

/* Windows in a batch, and batches for n windows. */
uint64_t gk_batch_windows(uint64_t ctx);

/* Bytes of weights that a whole pass of one model reads, and of memory that all n_streams hold
 * together (an estimate from above); whether their activations lie in a scratch file, and its
 * bytes. */
uint64_t gk_forward_bytes(const gk_catalog *model, const gk_arch *a,
                          const gk_forward_options *options);
uint64_t gk_forward_memory(const gk_arch *a, const gk_forward_options *options);
bool     gk_forward_spills(const gk_arch *a, const gk_forward_options *options);
uint64_t gk_forward_spilled_bytes(const gk_arch *a, const gk_forward_options *options);

#endif
