#!/usr/bin/env python3
"""Goldens of a second geometry, in which no two sizes are the same.

Usage: make_odd.py MAKE_MODEL OUT

Runs MAKE_MODEL (build/release/tests/make_model), joins the slices with numpy, and writes
OUT/golden.json and OUT/logits.npy, all computed by the float64 reference.
"""
import glob
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import grok2_reference as ref

ARGS = ("hidden=320 heads=5 kv_heads=1 head_dim=64 dense=640 moe=384 experts=4 top_k=1 ranks=4 "
        "gate=f32 layers=3 vocab=512 seed=7 temperature_len=32 original_ctx=128").split()


def merged(directory):
    """-> {name: float32 or uint16 array}, slices joined by rank"""
    whole, slices = {}, {}
    for path in sorted(glob.glob(os.path.join(directory, "*.safetensors"))):
        rank = re.search(r"-TP-(\w+)\.safetensors", path).group(1)
        for name, (dtype, a) in ref.read_safetensors(path).items():
            if rank == "common":
                whole[name] = (dtype, a)
            else:
                slices.setdefault(name, []).append((int(rank), dtype, a))
    for name, parts in slices.items():
        parts.sort(key=lambda p: p[0])
        whole[name] = (parts[0][1], np.concatenate([p[2] for p in parts], ref.split_axis(name)))
    return whole


def main():
    make_model, out = sys.argv[1:]
    with tempfile.TemporaryDirectory() as d:
        subprocess.run([make_model, d] + ARGS, check=True)
        raw, config = merged(d), ref.load_config(d)
    model = ref.Model(config=config, weights={n: ref.to_f64(*v) for n, v in raw.items()})
    rng = np.random.default_rng(7)
    ids = rng.integers(0, 512, 6 * 128).tolist()
    logits = model.forward(ids[:150]).astype(np.float32)
    routed = {}
    model.forward(ids[:150], trace=lambda kind, l, v: routed.setdefault(l, v.tolist())
                  if kind == "router_ids" else None)
    golden = {
        "about": "make_model " + " ".join(ARGS) + "; float64 reference",
        "args": ARGS,
        "ids": ids,
        "logits": {"file": "logits.npy", "tokens": 150, "rows": "every fifth"},
        "router_ids": [routed[l] for l in sorted(routed)],
        "perplexity": {}, "kld": {}, "codes": {},
        "tensors": {n: hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()
                    for n, (_, a) in raw.items()},
    }
    for preset, opt in ref.PRESETS.items():
        golden["perplexity"][preset] = {
            p: v["ppl"] for p, v in ref.perplexity(model, ids, 128, opt).items()}
    for name, bits, group in (("int8-g64", 8, 64), ("int4-g64", 4, 64)):
        w = dict(model.w)
        for n in w:
            if ref.is_quantized_name(n):
                g = group if "experts" in n or w[n].shape[1] % 128 else group
                q, scale = ref.quantize_rtn(w[n], bits, g)
                w[n] = q.astype(np.float64) * np.repeat(scale.astype(np.float64), g, axis=1)
                golden["codes"].setdefault(name, {})[n] = ref.code_digests(w_of(model, n), bits, g)
        other = ref.Model(config=config, weights=w)
        golden["kld"][name] = ref.divergence(model, {name: other}, ids, 128, ref.Options())[name]
    os.makedirs(out, exist_ok=True)
    np.save(os.path.join(out, "logits.npy"), logits[::5])
    with open(os.path.join(out, "golden.json"), "w", encoding="utf-8") as f:
        json.dump(golden, f, indent=1)
        f.write("\n")


def w_of(model, name):
    return model.w[name].astype(np.float32)


if __name__ == "__main__":
    main()
