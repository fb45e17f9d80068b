#!/usr/bin/env python3
"""Writes grok1-mini as two public repositories have Grok-1: other names, and torch's files.

    pip install numpy ml_dtypes torch safetensors
    make_grok1_hf.py ../grok1-mini OUT

OUT/jax-names/pytorch_model.bin has the names of keyfan/grok-1-hf (ggml-org/llama.cpp
conversion/grok.py and tensor_mapping.py, b4rtaz/distributed-llama
converter/convert-grok-1.py), OUT/torch-names/model.safetensors those of hpcai-tech/grok-1
(vllm-project/vllm grok1.py, hpcaitech/ColossalAI grok1_policy.py). The values are the
pickles', int8 times scale in float32; matrices [out, in]. OUT/golden.json has ids and their
perplexity by the float64 reference.
"""
import dataclasses
import json
import math
import os
import pickle
import sys

import numpy as np
import safetensors.numpy
import torch

import grok1_reference
import grok2_reference as ref
from make_grok1_tiny import dequantize, layer_leaves


@dataclasses.dataclass
class QuantizedWeight8bit:
    weight: np.ndarray = None
    scales: np.ndarray = None


JAX = {"multi_head_attention/query/w": "multi_head_attention.query", "router/w": "router",
       "multi_head_attention/key/w": "multi_head_attention.key", "rms_norm/scale": "rms_norm",
       "multi_head_attention/value/w": "multi_head_attention.value", "rms_norm_1/scale": "rms_norm_1",
       "multi_head_attention/linear/w": "multi_head_attention.linear", "rms_norm_2/scale": "rms_norm_2",
       "rms_norm_3/scale": "rms_norm_3"}
CTX = 32
TORCH = {"multi_head_attention/query/w": "attn.q_proj", "router/w": "moe_block.gate",
         "multi_head_attention/key/w": "attn.k_proj", "rms_norm/scale": "pre_attn_norm",
         "multi_head_attention/value/w": "attn.v_proj", "rms_norm_1/scale": "post_attn_norm",
         "multi_head_attention/linear/w": "attn.o_proj", "rms_norm_2/scale": "pre_moe_norm",
         "rms_norm_3/scale": "post_moe_norm"}


def golden(config, tensors):
    """the names of the second folder -> perplexity over whole windows"""
    ours = (("attn.", "self_attn."), (".scale", ".weight"), ("moe_block", "block_sparse_moe"), ("linear_1", "w2"),
            ("linear_v", "w3"), ("linear", "w1"))
    weights = {}
    for name, x in tensors.items():
        for old, new in ours:
            name = name.replace(old, new)
        weights[name] = x.astype(np.float64)
    ids = np.random.default_rng(7).integers(0, config["vocab_size"], 3 * CTX).tolist()
    model = grok1_reference.Model(config, weights)
    nll = []
    for window in ref.windows(ids, CTX):
        lp = ref.log_softmax(model.forward(window))
        nll += list(-lp[np.arange(CTX - 1), window[1:]])
    return {"ctx": CTX, "ids": ids, "perplexity": {"paper": math.exp(np.mean(nll))}}


def read(directory, i):
    with open(os.path.join(directory, "ckpt-0", f"tensor{i:05d}_000"), "rb") as f:
        x = pickle.load(f)
    return dequantize(x) if isinstance(x, QuantizedWeight8bit) else np.asarray(x).astype(np.float32)


def main():
    source, out = sys.argv[1:]
    with open(os.path.join(source, "golden", "golden.json"), encoding="utf-8") as f:
        c = json.load(f)["config"]
    assert c["layers"] == 1
    embedding, norm = read(source, 0), read(source, 1)
    jax = {"transformer.in_out_embed.weight": embedding, "transformer.rms_norm.weight": norm, "lm_head.weight": embedding}
    hpc = {"model.embed_tokens.weight": embedding, "model.norm.scale": norm, "lm_head.weight": embedding}
    leaves = layer_leaves(c["hidden"], c["heads"], c["kv_heads"], c["head_dim"], c["experts"], c["width"])
    for i, (path, _, _) in enumerate(leaves):
        x = read(source, 2 + i)
        if path.startswith("moe/"):
            for e in range(c["experts"]):
                kind = path.split("/")[1]
                jax[f"transformer.decoder_layer.0.moe.{e}.{kind}.weight"] = x[e].T
                hpc[f"model.layers.0.moe_block.experts.{e}.{kind}.weight"] = x[e].T
        else:
            x = x.T if x.ndim > 1 else x
            jax[f"transformer.decoder_layer.0.{JAX[path]}.weight"] = x
            hpc[f"model.layers.0.{TORCH[path]}." + ("scale" if x.ndim == 1 else "weight")] = x
    config = {"vocab_size": c["vocab"], "hidden_size": c["hidden"], "intermediate_size": c["width"],
              "num_hidden_layers": c["layers"], "num_attention_heads": c["heads"], "num_key_value_heads": c["kv_heads"],
              "num_experts_per_tok": 2, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
              "embedding_multiplier_scale": c["hidden"] ** 0.5, "output_multiplier_scale": 0.5773502691896257,
              "torch_dtype": "float32"}
    for folder, more in (("jax-names", {"architectures": ["GrokForCausalLM"], "model_type": "grok", "hidden_act": "gelu_new",
                                        "num_local_experts": c["experts"]}),
                         ("torch-names", {"architectures": ["Grok1ModelForCausalLM"], "model_type": "grok-1",
                                          "num_experts": c["experts"], "max_attn_value": 30.0, "attn_output_multiplier":
                                          c["head_dim"] ** -0.5})):
        os.makedirs(os.path.join(out, folder), exist_ok=True)
        with open(os.path.join(out, folder, "config.json"), "w", encoding="utf-8") as f:
            json.dump(more | config, f, indent=2)
            f.write("\n")
    with open(os.path.join(out, "golden.json"), "w", encoding="utf-8") as f:
        json.dump(golden(config | {"num_experts": c["experts"]}, hpc), f)
        f.write("\n")
    # in memory a matrix is what torch's own transposing leaves: a view with turned strides
    tensors = {k: torch.from_numpy(np.ascontiguousarray(v.T)).T if v.ndim > 1 else torch.from_numpy(v.copy())
               for k, v in jax.items()}
    tensors["lm_head.weight"] = tensors["transformer.in_out_embed.weight"]
    torch.save(tensors, os.path.join(out, "jax-names", "pytorch_model.bin"))
    safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in hpc.items()},
                                os.path.join(out, "torch-names", "model.safetensors"), {"format": "pt"})


if __name__ == "__main__":
    main()
