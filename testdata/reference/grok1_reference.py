#!/usr/bin/env python3
"""Reference forward pass of Grok-1 in plain numpy, float64, under canonical names.

Written from xai-org/grok-1 model.py and run.py @7050ed20.  Not shared with Grok-2: no
dense MLP, no sqrt 2, no temperature, no cap on router or logits; the two chosen
probabilities are used as they are; tanh GELU; plain rope of base 10000; tied embeddings.
`renorm` and `router_cap` are what engines add (vLLM grok1.py: both; llama.cpp: renorm).

    grok1_reference.py logits DIR --ids 1,2,3 --out X.npy
"""
import argparse
import math

import numpy as np

import grok2_reference as ref


class Model:
    def __init__(self, config, weights):
        self.c, self.w = config, weights

    def attention(self, l, a):
        """a [T, d] -> [T, d]"""
        c, p = self.c, f"model.layers.{l}.self_attn."
        T, H, K = a.shape[0], c["num_attention_heads"], c["num_key_value_heads"]
        D = c.get("head_dim") or c["hidden_size"] // H
        q = (a @ self.w[p + "q_proj.weight"].T).reshape(T, H, D)
        k = (a @ self.w[p + "k_proj.weight"].T).reshape(T, K, D)
        v = (a @ self.w[p + "v_proj.weight"].T).reshape(T, K, D)
        angle = np.arange(T)[:, None] * 10000.0 ** (-2.0 * np.arange(D // 2) / D)
        q, k = (ref.rotate(x, np.cos(angle), np.sin(angle)) for x in (q, k))
        future = np.triu(np.ones((T, T), dtype=bool), 1)
        out = np.empty((T, H, D))
        for h in range(H):
            s = q[:, h] @ k[:, h // (H // K)].T * D ** -0.5
            s = 30.0 * np.tanh(s / 30.0)
            out[:, h] = ref.softmax(np.where(future, -np.inf, s)) @ v[:, h // (H // K)]
        return out.reshape(T, H * D) @ self.w[p + "o_proj.weight"].T

    def experts(self, l, x, renorm, router_cap, gelu):
        """x [T, d] -> [T, d]"""
        p = f"model.layers.{l}.block_sparse_moe."
        z = x @ self.w[p + "gate.weight"].T                             # [T, E]
        prob = ref.softmax(30.0 * np.tanh(z / 30.0) if router_cap else z)
        y = np.zeros_like(x)
        for t in range(len(x)):
            best = np.argsort(-prob[t], kind="stable")[:self.c.get("num_experts_per_tok", 2)]
            total = prob[t, best].sum() if renorm else 1.0
            for e in best:
                q = f"{p}experts.{e}."
                h = ref.gelu(self.w[q + "w1.weight"] @ x[t], gelu)
                h = h * (self.w[q + "w3.weight"] @ x[t])
                y[t] += prob[t, e] / total * (self.w[q + "w2.weight"] @ h)
        return y

    def forward(self, ids, renorm=False, router_cap=False, gelu="tanh"):
        """ids [T] -> logits [T, V]"""
        w, eps = self.w, 1e-5
        r = w["model.embed_tokens.weight"][np.asarray(ids)] * math.sqrt(self.c["hidden_size"])
        for l in range(self.c["num_hidden_layers"]):
            p = f"model.layers.{l}."
            a = self.attention(l, ref.rms_norm(r, w[p + "pre_attn_norm.weight"], eps))
            r = r + ref.rms_norm(a, w[p + "post_attn_norm.weight"], eps)
            x = ref.rms_norm(r, w[p + "pre_moe_norm.weight"], eps)
            y = self.experts(l, x, renorm, router_cap, gelu)
            r = r + ref.rms_norm(y, w[p + "post_moe_norm.weight"], eps)
        h = ref.rms_norm(r, w["model.norm.weight"], eps)
        return h @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T * 0.5773502691896257


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
