/* formats/rope_factors.h - the llama3 scaling of rotary positions, as a GGUF stores it.
 *
 * A config.json says four numbers, a GGUF the tensor rope_freqs.weight [head_dim / 2]: by
 * how much each frequency is divided. Source: ggml-org/llama.cpp conversion/llama.py,
 * generate_extra_tensors(), of llama-cpp-python 0.3.36; huggingface/transformers
 * modeling_rope_utils.py, _compute_llama3_parameters(). */
#ifndef GK_FORMATS_ROPE_FACTORS_H
#define GK_FORMATS_ROPE_FACTORS_H

#include "formats/json.h"

#define GK_ROPE_FACTORS "rope_freqs.weight" /* in a GGUF and in a catalog */

typedef struct gk_llama3 {
    double factor;    /* of waves longer than context / low                */
    double low, high; /* waves shorter than context / high stay as they are */
    double context;   /* that the model was first trained for              */
} gk_llama3;

/* Returns the object of a config that says how positions are stretched, or NULL, and its
 * "rope_type" (older: "type"), or NULL. */
const gk_json *gk_rope_scaling(const gk_json *config, const char **type);

/* Reads the four numbers of such an object. False and FORMAT naming the one that is absent
 * or cannot be. */
bool gk_llama3_read(const gk_json *scaling, gk_llama3 *out, gk_err *err);

/* Fills out [head_dim / 2] with what the converter would compute, step by step in float32;
 * its pow() may be two units in the last place away from the rounded one that is taken here
 * (36 of 125,280 factors compared). base is rope_theta. */
void gk_llama3_factors(const gk_llama3 *l, double base, uint64_t head_dim, float *out);

/* Finds numbers that give the factors [head_dim / 2] again, to 2^-20 of each: low 1, high 4
 * and context 8192 as published if they do, else a power of two for both. False: none. */
bool gk_llama3_guess(const float *factors, double base, uint64_t head_dim, gk_llama3 *out);

#endif
