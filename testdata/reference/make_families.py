#!/usr/bin/env python3
"""Writes the small models of testdata/families and their goldens.

Usage: make_families.py OUT

Each folder is a seeded random model in Hugging Face's layout (config.json and
model.safetensors), logits.npy of the first window in float64, and golden.json: ids,
perplexity by protocol, logits and perplexity by preset where engines differ.
"""
import json
import math
import os
import sys

import numpy as np

import grok1_reference
import grok2_reference as ref
import llama_reference

CTX = 48
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
SIZES = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "vocab_size": 97,
         "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 64,
         "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16"}


def llama(name, **more):
    kind = name.removesuffix("ForCausalLM").lower()
    return {"architectures": [name], "model_type": kind, "hidden_act": "silu", "rope_theta": 500.0,
            "tie_word_embeddings": False} | SIZES | more


MODELS = {
    # grouped queries, an output matrix of its own, long waves slowed
    "llama": llama("LlamaForCausalLM", rope_scaling=LLAMA3),
    # tied, heads wider than hidden / heads, biases on all four, slowed
    "llama-tied": llama("LlamaForCausalLM", tie_word_embeddings=True, head_dim=16,
                        attention_bias=True, rope_scaling={"type": "linear", "factor": 2.5}),
    "mistral": llama("MistralForCausalLM", sliding_window=12, rope_scaling=None),
    "qwen2": llama("Qwen2ForCausalLM", num_key_value_heads=3, tie_word_embeddings=True,
                   use_sliding_window=False, sliding_window=12),
    "grok1": {"architectures": ["Grok1ModelForCausalLM"], "model_type": "grok-1",
              "num_experts": 4, "num_experts_per_tok": 2, "max_attn_value": 30.0,
              "embedding_multiplier_scale": math.sqrt(48),
              "output_multiplier_scale": 0.5773502691896257} | SIZES | {"intermediate_size": 40},
}


def shapes(c):
    """-> {name: (shape, width of the distribution)}; widths make caps and routing matter"""
    d, V = c["hidden_size"], c["vocab_size"]
    H, K = c["num_attention_heads"], c["num_key_value_heads"]
    D = c.get("head_dim") or d // H
    grok = "num_experts" in c
    tied = grok or c["tie_word_embeddings"]
    norms = (["pre_attn_norm", "post_attn_norm", "pre_moe_norm", "post_moe_norm"] if grok
             else ["input_layernorm", "post_attention_layernorm"])
    out = {"model.embed_tokens.weight": ((V, d), 0.3 if tied else 1), "model.norm.weight": ((d,), 0)}
    if not tied:
        out["lm_head.weight"] = ((V, d), 3 * d ** -0.5)
    bias = {"Qwen2ForCausalLM": "qkv"}.get(c["architectures"][0], "qkvo" * bool(c.get("attention_bias")))
    for l in range(c["num_hidden_layers"]):
        p = f"model.layers.{l}."
        out |= {p + n + ".weight": ((d,), 0) for n in norms}
        for n, shape, gain in (("q", (H * D, d), 2.5), ("k", (K * D, d), 2.5), ("v", (K * D, d), 1),
                               ("o", (d, H * D), 1)):
            out[f"{p}self_attn.{n}_proj.weight"] = (shape, gain * shape[1] ** -0.5)
            if n in bias:
                out[f"{p}self_attn.{n}_proj.bias"] = (shape[:1], 0.5)
        F = c["intermediate_size"]
        if grok:
            out[p + "block_sparse_moe.gate.weight"] = ((c["num_experts"], d), 8 * d ** -0.5)
            for e in range(c["num_experts"]):
                q = f"{p}block_sparse_moe.experts.{e}."
                out |= {q + "w1.weight": ((F, d), d ** -0.5), q + "w3.weight": ((F, d), d ** -0.5),
                        q + "w2.weight": ((d, F), F ** -0.5)}
        else:
            out |= {p + "mlp.gate_proj.weight": ((F, d), d ** -0.5),
                    p + "mlp.up_proj.weight": ((F, d), d ** -0.5),
                    p + "mlp.down_proj.weight": ((d, F), F ** -0.5)}
    return out


def perplexity(forward, ids):
    nll = {"llama": [], "paper": []}
    for win in ref.windows(ids, CTX):
        lp = ref.log_softmax(forward(win))
        each = -lp[np.arange(CTX - 1), win[1:]]
        for p in nll:
            nll[p] += list(each[ref.scored_from(p, CTX):])
    return {p: math.exp(np.mean(v)) for p, v in nll.items()}


def random_tensors(config, seed):
    """-> {name: (dtype, array)} of every tensor of a model; norms lie around 1"""
    rng = np.random.default_rng(seed)
    tensors = {}
    for n, (shape, width) in shapes(config).items():
        x = rng.standard_normal(shape)
        x = x * width if width else np.exp(0.3 * x)
        tensors[n] = ("BF16", ref.f32_to_bf16(x.astype(np.float32)))
    return tensors


def main():
    for seed, (name, config) in enumerate(MODELS.items()):
        tensors = random_tensors(config, seed)
        out = os.path.join(sys.argv[1], name)
        os.makedirs(out, exist_ok=True)
        ref.write_safetensors(os.path.join(out, "model.safetensors"), tensors)
        with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as f:
            json.dump(config, f, indent=2)
            f.write("\n")
        weights = {n: ref.to_f64(*v) for n, v in tensors.items()}
        ids = rng.integers(0, config["vocab_size"], 3 * CTX).tolist()
        golden = {"ctx": CTX, "ids": ids}
        if name == "grok1":
            model = grok1_reference.Model(config, weights)
            presets = {"grok1": {}, "vllm": {"renorm": True, "router_cap": True, "gelu": "erf"},
                       "sglang": {"router_cap": True, "gelu": "erf"},
                       "llama.cpp-plain": {"renorm": True}}
            golden["presets"] = {p: perplexity(lambda w, o=o: model.forward(w, **o), ids)
                                 for p, o in presets.items()}
        else:
            model = llama_reference.Model(config, weights)
        golden["perplexity"] = perplexity(model.forward, ids)
        np.save(os.path.join(out, "logits.npy"), model.forward(ids[:CTX]).astype(np.float32))
        with open(os.path.join(out, "golden.json"), "w", encoding="utf-8") as f:
            json.dump(golden, f)
            f.write("\n")
        print(name, golden["perplexity"], golden.get("presets"))


if __name__ == "__main__":
    main()
