"""FP8, FP4, GPTQ, AWQ and MLX files as numpy reads and makes them from the formats' descriptions.

Everything is float32 arithmetic in the order of the description, so values and bytes are compared
bit for bit.
"""
import glob
import json
import os

import numpy as np

from common import TINY, check, grokkit, grokkit_json, ref, work

MODELS = os.path.join("build", "models")
ref.NUMPY_DTYPE.update(U32="<u4", F8_E4M3="|u1")
F = np.float32


def load(directory):
    """-> {name: (dtype, array)}"""
    out = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.safetensors"))):
        out.update(ref.read_safetensors(path))
    return out


def f32(dtype, a):
    return a.astype(F) if dtype in ("F16", "F32") else (a.astype(np.uint32) << 16).view(F)


def to_bf16(x):
    bits = np.ascontiguousarray(x, F).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def wide(a, n):
    """Every column n times."""
    return np.repeat(a, n, 1)


def fields(words, bits):
    """[..., w] -> [..., w * 32 / bits], least bits first"""
    at = np.arange(0, 32, bits, dtype=np.uint32)
    u = np.ascontiguousarray(words).view(np.uint32)[..., None] >> at & np.uint32((1 << bits) - 1)
    return u.reshape(*words.shape[:-1], -1).astype(np.int64)


# ---- small floats ------------------------------------------------------------------------------

def e4m3_values():
    c = np.arange(128)
    e, m = c >> 3, c & 7
    v = np.where(e > 0, (8 + m) * 2.0 ** (e - 10), m * 2.0 ** -9)
    return np.concatenate([v, -v]).astype(F)


E4M3 = e4m3_values()
E2M1 = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6], F)


def nearest(x, table):
    """Codes of a table of rising magnitudes, ties to the even code; the sign's bit on top."""
    a = np.minimum(np.abs(x), table[-1]).astype(np.float64)     # middles are exact in float64
    mid = (table[:-1].astype(np.float64) + table[1:]) / 2
    low = np.searchsorted(mid, a, "left")                       # a tie: the lower code
    tie = np.append(mid, np.inf)[low] == a
    code = low + (tie & (low % 2 == 1))
    return (code + np.signbit(x) * len(table)).astype(np.uint8)


def to_e4m3(x):
    code = nearest(x, E4M3[:127])                               # without the NaN
    return np.where(code >= 127, code - 127 + 128, code).astype(np.uint8)


def largest(w, group):
    """[rows, groups]"""
    return np.abs(w.reshape(w.shape[0], -1, group)).max(-1).astype(F)


def nibbles(code):
    return (code[:, 0::2] | code[:, 1::2] << 4).astype(np.uint8)


def from_nibbles(a):
    return np.stack([a & 15, a >> 4], -1).reshape(a.shape[0], -1)


# ---- a module of each format: its values, and its parts made again ------------------------------

def fp8(t, w, config, module):
    scale = t["weight_scale"][1]
    if scale.shape != (w.shape[0], 1):
        rows = [np.abs(w[r:r + 128]).reshape(-1, w.shape[1] // 128, 128).max((0, 2))
                for r in range(0, w.shape[0], 128)]
        made = np.array(rows, F) / F(448)
        spread = wide(np.repeat(scale, 128, 0)[:w.shape[0]], 128)
    else:
        made = np.abs(w).max(1, keepdims=True).astype(F) / F(448)
        spread = scale
    assert scale.shape == made.shape and t["weight_scale"][0] == "F32"
    made = np.where(made == 0, F(2.0 ** -23), made)
    values = E4M3[t["weight"][1]] * spread
    return values, {"weight_scale": made, "weight": to_e4m3(w / spread)}


def nvfp4(t, w, config, module):
    scale, g = t["weight_scale"][1], t["weight_global_scale"][1]
    step = E4M3[scale] / g
    made = to_e4m3(g * (largest(w, 16) / F(6)))
    made = np.where(made == 0, 0x20, made)
    packed = nibbles(nearest(w / wide(step, 16), E2M1[:8]))
    values = E2M1[from_nibbles(t["weight_packed"][1])] * wide(step, 16)
    return values, {"weight_scale": made, "weight_packed": packed}


def mxfp4(t, w, config, module):
    scale = t["weight_scale"][1]
    step = np.ldexp(F(1), scale.astype(np.int32) - 127).astype(F)
    most = largest(w, 32)
    m, e = np.frexp(most)                                       # most = m * 2^e, m in [0.5, 1)
    made = np.where(most > 0, np.clip(127 + e - 1 + (m >= 0.875) - 2, 0, 255), 0)
    packed = nibbles(nearest(w / wide(step, 32), E2M1[:8]))
    values = E2M1[from_nibbles(t["weight_packed"][1])] * wide(step, 32)
    return values, {"weight_scale": made.astype(np.uint8), "weight_packed": packed}


def gptq(t, w, config, module):
    bits = 32 * t["qzeros"][1].shape[1] // w.shape[0]
    u = fields(t["qweight"][1].T, bits)                         # [out, in]
    z = fields(t["qzeros"][1], bits) + (config["checkpoint_format"] == "gptq")
    return turned(t, w, u, z, bits, t["g_idx"][1])


def awq(t, w, config, module):
    order = np.array([0, 4, 1, 5, 2, 6, 3, 7])                  # nibble of each row of eight
    u = fields(t["qweight"][1], 4).reshape(w.shape[1], -1, 8)[..., order]
    z = fields(t["qzeros"][1], 4).reshape(t["qzeros"][1].shape[0], -1, 8)[..., order]
    n = t["scales"][1].shape[0]
    return turned(t, w, u.reshape(w.shape[1], -1).T, z.reshape(n, -1), 4,
                  np.arange(w.shape[1]) // (w.shape[1] // n))


def turned(t, w, u, z, bits, g_idx):
    """Codes made again: nearest to W with the stored scales and zero points."""
    assert t["scales"][0] == "F16" and len(g_idx) == w.shape[1]
    s = t["scales"][1].astype(F)[g_idx].T                       # [out, in]
    z = z[g_idx].T
    made = np.clip(np.rint(np.clip(w / s + (z - (1 << bits - 1)), -(1 << bits - 1), (1 << bits - 1) - 1))
                   + (1 << bits - 1), 0, (1 << bits) - 1)
    return (u - z).astype(F) * s, {"codes": (made.astype(np.int64), u)}


def mlx(t, w, config, module):
    told = config.get(module) or config
    bits, group = told["bits"], told["group_size"]
    scale, bias = f32(*t["scales"]), f32(*t["biases"])
    values = fields(t["weight"][1], bits).astype(F) * wide(scale, group) + wide(bias, group)
    n, g = F((1 << bits) - 1), w.reshape(w.shape[0], -1, group)
    lo, hi = g.min(-1), g.max(-1)
    s = np.maximum((hi - lo) / n, F(1e-7))
    low = np.abs(lo) > np.abs(hi)
    edge, s = np.where(low, lo, hi), np.where(low, s, -s)
    q = np.rint(edge / s)
    some = q != 0
    s, b = np.where(some, edge / np.where(some, q, 1), s).astype(F), np.where(some, edge, F(0))
    code = np.clip(np.rint((g - b[..., None]) / s[..., None]), 0, n).astype(np.uint32)
    code = code.reshape(w.shape[0], -1, 32 // bits) << np.arange(0, 32, bits, dtype=np.uint32)
    return values, {"scales": to_bf16(s), "biases": to_bf16(b),
                    "weight": np.bitwise_or.reduce(code, -1).astype(np.uint32)}


FORMATS = [                 # target, scheme, how
    ("fp8", "fp8-channel", fp8),
    ("fp8", "fp8-block", fp8),
    ("compressed-tensors", "nvfp4", nvfp4),
    ("compressed-tensors", "mxfp4", mxfp4),
    ("gptq", "int4-g128", gptq),
    ("gptq", "int8-channel", gptq),
    ("gptq", "int4-g32-asym", gptq),
    ("awq", "int4-g64-asym", awq),
    ("awq", "int4-channel", awq),
    ("mlx", "int4-g64", mlx),
    ("mlx", "int8-g32", mlx),
]
PARTS = {fp8: ["weight", "weight_scale"],
         nvfp4: ["weight_packed", "weight_scale", "weight_global_scale"],
         mxfp4: ["weight_packed", "weight_scale"],
         gptq: ["qweight", "qzeros", "scales", "g_idx"],
         awq: ["qweight", "qzeros", "scales"],
         mlx: ["weight", "scales", "biases"]}


def same(a, b):
    return a.shape == b.shape and np.ascontiguousarray(a).tobytes() == np.ascontiguousarray(b).tobytes()


def one(label, model, plain, target, scheme, how):
    name, out = f"{label} {target} {scheme}", work(f"{label}-{target}-{scheme}")
    plan = grokkit_json("quantize", model, out, "--to", target, "--scheme", scheme, "--method", "rtn")["plan"]
    back = work(f"{label}-{target}-{scheme}-f32")
    grokkit("convert", out, back, "--to", "hf", "--dtype", "f32", "-q")
    stored, back = load(out), load(back)
    with open(os.path.join(out, "config.json"), encoding="utf-8") as f:
        config = json.load(f)
    config = config["quantization" if how is mlx else "quantization_config"]
    coded = [t["name"].removesuffix(".weight") for t in plan["tensors"] if t["to"] not in ("keep", "bf16", "f32")]
    values = made = parts = 0
    for m in coded:
        t = {p: stored[f"{m}.{p}"] for p in PARTS[how]}
        w = f32(*plain[m + ".weight"])
        v, again = how(t, w, config, m)
        values += same(v.astype(F), back[m + ".weight"][1])
        made += all(same(x[0], x[1]) if isinstance(x, tuple) else same(x.astype(t[p][1].dtype), t[p][1])
                    for p, x in again.items())
        parts += len(t)
    check(f"{name}: numpy reads what convert --dtype f32 writes, bit for bit", values == len(coded) > 0,
          f"{values} of {len(coded)} modules")
    check(f"{name}: numpy makes the same codes and scales of the weights", made == len(coded),
          f"{made} of {len(coded)} modules")
    check(f"{name}: every other tensor is the model's", len(stored) - parts == len(plain) - len(coded)
          and all(same(stored[n][1], plain[n][1]) for n in plain if n.removesuffix(".weight") not in coded),
          f"{len(plain) - len(coded)} tensors")


def main():
    for label, model in (("tiny", TINY), ("odd", os.path.join(MODELS, "odd"))):
        hf = work(label + "-hf")
        grokkit("convert", model, hf, "--to", "hf", "-q")
        plain = load(hf)
        for target, scheme, how in FORMATS:
            one(label, model, plain, target, scheme, how)


main()
