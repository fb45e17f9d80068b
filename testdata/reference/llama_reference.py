#!/usr/bin/env python3
"""Reference forward pass of Llama, Mistral and Qwen2 in plain numpy, float64.

Written from the published computation (huggingface/transformers
src/transformers/models/llama/modeling_llama.py, modeling_rope_utils.py): pre-norm
blocks, grouped-query attention, rotary halves, SwiGLU.  No framework; letters as in
grok2_reference.py, which also reads the files.

    llama_reference.py logits DIR --ids 1,2,3 --out X.npy
"""
import argparse
import math

import numpy as np

import grok2_reference as ref


def rope_frequencies(c):
    """-> [D/2]"""
    D = c["head_dim"]
    s = c.get("rope_scaling") or {}
    plain = float(c.get("rope_theta", 10000.0)) ** (-2.0 * np.arange(D // 2) / D)
    kind = s.get("rope_type", s.get("type", "default"))
    if kind == "default":
        return plain
    if kind == "linear":
        return plain / s["factor"]
    assert kind == "llama3", kind
    n0, low, high = s["original_max_position_embeddings"], s["low_freq_factor"], s["high_freq_factor"]
    out = np.empty_like(plain)
    for j, f in enumerate(plain):
        wave = 2 * math.pi / f                                  # tokens in a turn
        if wave < n0 / high:
            out[j] = f
        elif wave > n0 / low:
            out[j] = f / s["factor"]
        else:
            smooth = (n0 / wave - low) / (high - low)
            out[j] = (1 - smooth) * f / s["factor"] + smooth * f
    return out


class Model:
    def __init__(self, config, weights):
        self.c, self.w = dict(config), weights
        if not self.c.get("head_dim"):
            self.c["head_dim"] = self.c["hidden_size"] // self.c["num_attention_heads"]

    def project(self, name, x):
        """x [T, in] -> [T, out], with the bias if there is one"""
        y = x @ self.w[name + ".weight"].T
        return y + self.w[name + ".bias"] if name + ".bias" in self.w else y

    def attention(self, l, a):
        """a [T, d] -> [T, d]"""
        c, p = self.c, f"model.layers.{l}.self_attn."
        T, D = a.shape[0], c["head_dim"]
        H = c["num_attention_heads"]
        K = c.get("num_key_value_heads") or H
        q = self.project(p + "q_proj", a).reshape(T, H, D)
        k = self.project(p + "k_proj", a).reshape(T, K, D)
        v = self.project(p + "v_proj", a).reshape(T, K, D)
        angle = np.arange(T, dtype=np.float64)[:, None] * rope_frequencies(c)    # [T, D/2]
        q, k = (ref.rotate(x, np.cos(angle), np.sin(angle)) for x in (q, k))
        out = np.empty((T, H, D))
        at = np.arange(T)
        hidden = at[None, :] > at[:, None]                      # [T, T] keys after the query
        window = c.get("sliding_window") if "Mistral" in c["architectures"][0] else None
        if window:
            hidden |= at[:, None] - at[None, :] >= window
        for h in range(H):
            s = q[:, h] @ k[:, h // (H // K)].T / math.sqrt(D)
            out[:, h] = ref.softmax(np.where(hidden, -np.inf, s)) @ v[:, h // (H // K)]
        return self.project(p + "o_proj", out.reshape(T, H * D))

    def forward(self, ids, opt=None, trace=None):
        """ids [T] -> logits [T, V]"""
        c, w = self.c, self.w
        eps = c.get("rms_norm_eps", 1e-6)
        r = w["model.embed_tokens.weight"][np.asarray(ids)]
        for l in range(c["num_hidden_layers"]):
            p = f"model.layers.{l}."
            r = r + self.attention(l, ref.rms_norm(r, w[p + "input_layernorm.weight"], eps))
            x = ref.rms_norm(r, w[p + "post_attention_layernorm.weight"], eps)
            g = x @ w[p + "mlp.gate_proj.weight"].T
            g = g / (1 + np.exp(-g)) * (x @ w[p + "mlp.up_proj.weight"].T)
            r = r + g @ w[p + "mlp.down_proj.weight"].T
        head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
        return ref.rms_norm(r, w["model.norm.weight"], eps) @ head.T


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("command", choices=["logits"])
    ap.add_argument("dir")
    ap.add_argument("--ids", required=True)
    ap.add_argument("--out", required=True)
    a = ap.parse_args()
    model = Model(ref.load_config(a.dir), ref.load_weights(a.dir))
    np.save(a.out, model.forward([int(i) for i in a.ids.split(",")]))


if __name__ == "__main__":
    main()
