/* verify/layer.h - what the files of the forward pass share. Private to verify/.
 *
 * Letters in shape comments: T tokens of all windows, C tokens of the chunk at hand,
 * d hidden size, H query heads, K kv heads, D head dimension, E experts, F width. */
#ifndef GK_VERIFY_LAYER_H
#define GK_VERIFY_LAYER_H

#include "verify/forward.h"

/* One thread's buffers. */
typedef struct gk_worker {
    float *w[2];    /* decoded row blocks                                */
    float *t[2];    /* products before the activation joins them         */
    double *sum;    /* of blocks of a product                            */
    void  *scratch; /* of gk_decode()                                    */
    float *scores;  /* [query block, ctx] */
    float *v_t;     /* [D, ctx]           */
} gk_worker;

/* What one stream after the other works with. */
typedef struct gk_workspace {
    gk_grok2   sizes;        /* of the model that it was made for        */
    int        n_workers;
    gk_worker *worker;       /* [n_workers]                              */
    uint64_t   scratch;      /* bytes of worker[].scratch                */
    uint64_t   block_floats; /* of worker[].w[]                          */
    uint64_t   floats;       /* of window, x, y and area together        */
    float     *window;       /* [C, d] and all that follows              */
    float     *norm;         /* [max(d, H * D)] a norm or a bias         */
    float     *gate;         /* [E, d]                                   */
    uint64_t  *order;        /* [C, top_k] tokens of one expert          */
    uint64_t  *expert_begin; /* [chunk + 1]                              */
} gk_workspace;

struct gk_stream {
    const gk_catalog  *c;
    gk_arch            a;
    gk_forward_options o;
    gk_arena          *arena;
    uint64_t           T, d;
    uint64_t           n_batches, chunk; /* batches; of them in flight                   */
    uint64_t          *begin;            /* [n_batches + 1] tokens                       */
    gk_states          states;             /* [T, d] the residual stream                   */
    uint16_t          *chosen;           /* [T, top_k]                                   */
    float             *weights;          /* [T, top_k]                                   */
    float             *gates;            /* [T, E]                                       */
    uint64_t          *counts;           /* [layers, E]                                  */
    float             *cos, *sin;        /* [ctx, D / 2]                                 */
    gk_until           until;            /* of the half at hand                          */
    const gk_stream   *choice;           /* whose experts are taken, or NULL: its own    */
    gk_workspace       own, *w;          /* w: own, or that of the stream it runs beside */
    /* of *w, for the chunk at hand: */
    float     *r;    /* [C, d] residual stream          */
    float     *x, *y; /* [C, d]                          */
    float     *area; /* [C, area_width], divided by user */
    float     *norm, *gate;
    gk_worker *worker;
    uint64_t  *order, *expert_begin;
};

/* Fills a stream whose options and architecture are known with buffers: its own, and the
 * workspace, which is that of `first` where it fits. False: NOMEM, IO, SPACE. */
bool gk_buffers_open(gk_stream *s, gk_stream *first, gk_err *err);
void gk_buffers_free(gk_stream *s);

uint64_t gk_batch_tokens(const gk_forward_options *o);

/* out = act(in W0^T) * (in W1^T), or in W0^T when W1 is NULL; batch b is rows
 * [begin[b], begin[b + 1]) of in (W->n_cols wide) and out (W->n_rows wide). With unordered
 * set the inputs are hidden units, which a release may list in any order: they are summed
 * in blocks and the blocks in double, so that exchanged slices change (next to) nothing. */
typedef struct gk_product {
    const gk_tensor *w[2];
    bool             unordered;
    const float     *in;
    float           *out;
    const uint64_t  *begin;
    uint64_t         n_batches;
} gk_product;

bool gk_multiply(gk_stream *s, const gk_product *p, gk_err *err);

/* Shows the inputs of a product to watch(), without the product. */
bool gk_show(gk_stream *s, const gk_product *p, gk_err *err);

/* gk_decode(), from the catalog that the options say. */
bool gk_stream_decode(const gk_stream *s, const gk_tensor *t, const uint64_t rect[4], float *out,
                      void *scratch, gk_err *err);

/* Rows of a matrix that are decoded at once; depends on its width alone. */
uint64_t gk_block_rows(uint64_t n_rows, uint64_t n_cols);

/* Finds the tensor of that role; layer and expert count where the role has them. The head
 * is the embedding where the two are tied. NULL and FORMAT. */
const gk_tensor *gk_layer_tensor(const gk_stream *s, gk_weight role, uint64_t layer,
                                 uint64_t expert, gk_err *err);

/* Reads a whole vector or small matrix of that role as f32. */
bool gk_layer_read(gk_stream *s, gk_weight role, uint64_t layer, float *out, gk_err *err);

/* y [C, d] from x [C, d] for tokens [t0, t1) of the stream; begin[] of the chunk's
 * batches counts from 0. */
typedef struct gk_chunk {
    uint64_t        first, n_batches; /* batches */
    uint64_t        t0, t1;
    const uint64_t *begin; /* [n_batches + 1], from 0 */
} gk_chunk;

bool gk_attention(gk_stream *s, uint64_t layer, const gk_chunk *chunk, gk_err *err);
bool gk_dense(gk_stream *s, uint64_t layer, const gk_chunk *chunk, gk_err *err);
bool gk_experts(gk_stream *s, uint64_t layer, const gk_chunk *chunk, gk_err *err);

/* Floats a token needs in s->area. */
uint64_t gk_area_width(const gk_arch *a);

#define GK_QUERY_BLOCK 128 /* query rows whose scores are held at once */

bool gk_stopped(const gk_stream *s, gk_err *err);

#endif
