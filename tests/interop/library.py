"""Quantized directories as the compressed-tensors library reads them, beside what it writes itself.

A module tree with the checkpoint's names is built, the library matches it with config.json,
loads our tensors into it and decompresses it: the way a model is loaded in transformers.
llmcompressor is the library's own writer.
"""
import json
import os
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("LLM_COMPRESSOR_LOG_DISABLED", "true")

import torch  # noqa: E402
from compressed_tensors.compressors import BaseCompressor, compress_module, decompress_module  # noqa: E402
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8  # noqa: E402
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32  # noqa: E402
from compressed_tensors.quantization import (  # noqa: E402
    QuantizationArgs, QuantizationConfig, QuantizationScheme, apply_quantization_config)
from compressed_tensors.quantization.lifecycle.forward import dequantize  # noqa: E402
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam  # noqa: E402
from llmcompressor import model_free_ptq  # noqa: E402
from loguru import logger  # noqa: E402
from safetensors import safe_open  # noqa: E402

from common import TINY, check, grokkit, grokkit_json, work  # noqa: E402

MODELS = os.path.join("build", "models")
SCHEMES = ["int4", "int8", "int4-g32", "int4-g64", "int4-g128", "int4-channel", "int8-g32", "int8-channel",
           "int4-g128-asym", "int4-g32-asym", "int4-channel-asym", "int8-g128-asym", "int8-channel-asym"]
FLOATS = {"fp8-channel": "float-quantized", "fp8-block": "float-quantized",
          "nvfp4": "nvfp4-pack-quantized", "mxfp4": "mxfp4-pack-quantized"}
BF16_STEP = 2 ** -7     # the library decompresses NVFP4 in bfloat16: scale, and product, each half of it
PRESETS = {"int4-g128": "W4A16", "int8": "W8A16", "int4-g128-asym": "W4A16_ASYM"}
IGNORE = ["lm_head", "re:.*embed_tokens$", "re:.*block_sparse_moe.gate$"]


def load(directory):
    """-> {name: tensor}, refusing a name in two files"""
    out = {}
    for file in sorted(f for f in os.listdir(directory) if f.endswith(".safetensors")):
        with safe_open(os.path.join(directory, file), "pt") as f:
            for k in f.keys():
                assert k not in out, k
                out[k] = f.get_tensor(k)
    return out


def bits(t):
    return t.contiguous().reshape(-1).view(torch.uint8)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


def config_of(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        return QuantizationConfig.model_validate(json.load(f)["quantization_config"])


def tree(plain):
    """Modules named as the checkpoint's: Linear for matrices, Embedding, bare ones for norms."""
    root = torch.nn.Module()
    for name, w in plain.items():
        path = name.removesuffix(".weight").split(".")
        at = root
        for part in path[:-1]:
            if not hasattr(at, part):
                at.add_module(part, torch.nn.Module())
            at = getattr(at, part)
        if w.ndim == 2:
            kind = torch.nn.Embedding if path[-1] == "embed_tokens" else torch.nn.Linear
            leaf = kind(*w.shape) if kind is torch.nn.Embedding \
                else torch.nn.Linear(w.shape[1], w.shape[0], bias=False, dtype=torch.bfloat16)
        else:
            leaf = torch.nn.Module()
            leaf.weight = torch.nn.Parameter(torch.empty_like(w))
        at.add_module(path[-1], leaf)
    return root


def matched(plain, config):
    """-> {module name: scheme}, by the library"""
    root = tree(plain)
    apply_quantization_config(root, config, show_progress=False)
    return {n: m.quantization_scheme for n, m in root.named_modules()
            if getattr(m, "quantization_scheme", None) is not None}


def spelled(scheme):
    """The library's scheme in our words."""
    w = scheme.weights
    strategy = getattr(w.strategy, "value", w.strategy)
    group = f"g{w.group_size}" if strategy == "group" else strategy
    assert getattr(w.type, "value", w.type) == "int" and not w.dynamic and w.actorder is None
    assert scheme.input_activations is None and scheme.output_activations is None
    return f"int{w.num_bits}-{group}" + ("" if w.symmetric else "-asym")


def parts(stored, module):
    return {k[len(module) + 1:]: v for k, v in stored.items() if k.startswith(module + ".weight")}


# ---- one directory --------------------------------------------------------------------------

def reads(label, scheme, out, plain, plan):
    """Matching, and decompression module by module."""
    name = f"{label} {scheme}"
    config, stored = config_of(out), load(out)
    schemes = matched(plain, config)
    want = {t["name"].removesuffix(".weight"): t["to"] for t in plan["tensors"] if t["to"] != "keep"}
    check(f"{name}: the library matches each module with the scheme it has",
          {m: spelled(s) for m, s in schemes.items()} == want,
          f"{len(schemes)} modules, {' '.join(sorted(set(want.values())))}")

    bf16, f32 = work(f"{label}-{scheme}-bf16"), work(f"{label}-{scheme}-f32")
    grokkit("convert", out, bf16, "--to", "hf", "--dtype", "bf16", "-q")
    grokkit("convert", out, f32, "--to", "hf", "--dtype", "f32", "-q")
    bf16, f32 = load(bf16), load(f32)
    equal = {"bf16": 0, "f32": 0}
    codec = BaseCompressor.get_value_from_registry("pack-quantized")
    for m, s in schemes.items():
        p = parts(stored, m)
        equal["bf16"] += same(codec.decompress(p, s)["weight"], bf16[m + ".weight"])
        p["weight_scale"] = p["weight_scale"].float()
        equal["f32"] += same(codec.decompress(p, s)["weight"], f32[m + ".weight"])
    for dtype, n in equal.items():
        check(f"{name}: the library decompresses to what convert --dtype {dtype} writes, bit for bit",
              n == len(schemes) > 0, f"{n} of {len(schemes)} modules")
    return config, stored, schemes, bf16


def loads(name, config, stored, schemes, plain, bf16):
    """The whole tree: every parameter filled by exactly our tensors, then decompressed in place."""
    root = tree(plain)
    apply_quantization_config(root, config, show_progress=False)
    for m in root.modules():
        if getattr(m, "quantization_scheme", None) is not None:
            compress_module(m)
    expected = {n: (t.dtype, tuple(t.shape)) for n, t in root.state_dict().items()}
    quantized = {f"{m}.{p}" for m in schemes for p in ("weight_packed", "weight_scale", "weight_shape",
                                                       "weight_zero_point")}
    got = {n: (t.dtype, tuple(t.shape)) for n, t in stored.items()}
    check(f"{name}: names, dtypes and shapes are those the library's modules ask for",
          set(expected) == set(got) and all(expected[n] == got[n] for n in got if n in quantized),
          f"{len(got)} stored tensors")
    for m, module in root.named_modules():
        for n, t in parts(stored, m).items() if m else ():
            module._parameters[n] = torch.nn.Parameter(t, requires_grad=False)
    for m in schemes:
        decompress_module(root.get_submodule(m))
    after = root.state_dict()
    equal = sum(n in after and same(after[n], t) for n, t in bf16.items())
    check(f"{name}: loaded and decompressed in place, the model is what convert --dtype bf16 writes",
          equal == len(bf16) == 75, f"{equal} of {len(bf16)} tensors")


def writes(name, stored, schemes, plain, method):
    """With our scales (and zero points) the library chooses our codes and packs our bytes; round to
    nearest has its scales, too, when it computes in float32."""
    n_bytes, n_scales = 0, 0
    codec = BaseCompressor.get_value_from_registry("pack-quantized")
    for m, s in schemes.items():
        p, w = parts(stored, m), plain[m + ".weight"].float()
        scale, zero = p["weight_scale"].float(), None
        if not s.weights.symmetric:
            zero = unpack_from_int32(p["weight_zero_point"], s.weights.num_bits, scale.shape, packed_dim=0)
        made = codec.compress({"weight": w, "weight_scale": scale, "weight_zero_point": zero}, s)
        n_bytes += all(same(made[k], p[k]) for k in p if k != "weight_scale")
        group = s.weights.group_size if s.weights.strategy == "group" else w.shape[1]
        g = w.reshape(w.shape[0], -1, group)
        scales, _ = calculate_qparams(g.amin(-1), g.amax(-1), s.weights)
        n_scales += same(scales.bfloat16(), p["weight_scale"])
    check(f"{name} {method}: with our scales the library packs our bytes", n_bytes == len(schemes) > 0,
          f"{n_bytes} of {len(schemes)} modules")
    if method == "rtn":
        check(f"{name} rtn: the library's scales, computed in float32, are ours",
              n_scales == len(schemes), f"{n_scales} of {len(schemes)} modules")


def theirs_of(scheme):
    """-> what to ask llmcompressor for: one of its presets, else the same arguments"""
    if scheme in PRESETS:
        return PRESETS[scheme]
    bits, group = scheme.removesuffix("-asym").removeprefix("int").split("-")
    size = {"strategy": "channel"} if group == "channel" else {"strategy": "group", "group_size": int(group[1:])}
    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(
        num_bits=int(bits), symmetric=not scheme.endswith("-asym"), **size))


def essence(directory):
    """What a reader of the configuration needs; not how scales were found."""
    c = config_of(directory).model_dump(mode="json")
    groups = list(c["config_groups"].values())
    for g in groups:
        for key in ("observer", "observer_kwargs"):
            g["weights"].pop(key)
        if g["weights"]["strategy"] == "channel":           # None and -1 say the same
            g["weights"].pop("group_size")
    return {k: c[k] for k in ("quant_method", "format", "quantization_status", "kv_cache_scheme")}, groups


def made_by_llmcompressor(label, scheme, out, hf):
    """What llmcompressor writes for the same scheme: the same tensors and configuration."""
    theirs, name = work(f"{label}-{scheme}-theirs"), f"{label} {scheme}"
    called = PRESETS.get(scheme, "the same arguments")
    model_free_ptq(hf, theirs, scheme=theirs_of(scheme), max_workers=1, device="cpu", ignore=IGNORE)
    a, b = load(out), load(theirs)
    same_form = {n: (t.dtype, t.shape) for n, t in a.items()} == {n: (t.dtype, t.shape) for n, t in b.items()}
    check(f"{name}: names, dtypes and shapes are those of llmcompressor ({called})", same_form, f"{len(a)} tensors")
    ours, want = essence(out), essence(theirs)
    check(f"{name}: quantization_config says what llmcompressor's says", ours == want,
          "" if ours == want else f"{ours} for {want}")
    plain = load(hf)
    check(f"{name}: and matches the same modules", set(matched(plain, config_of(out)))
          == set(matched(plain, config_of(theirs))))


def directories(label, model, schemes):
    hf = work(label + "-hf")
    grokkit("convert", model, hf, "--to", "hf", "-q")
    plain = load(hf)
    for scheme in schemes:
        for method in ("search", "rtn"):
            name, out = f"{label} {scheme}", work(f"{label}-{scheme}-{method}")
            plan = grokkit_json("quantize", model, out, "--scheme", scheme, "--method", method,
                                "--no-engine-check")["plan"]
            if method == "rtn":
                stored = load(out)
                writes(name, stored, matched(plain, config_of(out)), plain, method)
                continue
            config, stored, found, bf16 = reads(label, scheme, out, plain, plan)
            if label == "tiny":
                loads(name, config, stored, found, plain, bf16)
            writes(name, stored, found, plain, method)
            if label == "tiny" and scheme != "int4":        # which is a mix of two
                made_by_llmcompressor(label, scheme, out, hf)


# ---- FP8 and FP4 ------------------------------------------------------------------------------

def spelled_float(scheme):
    w, a = scheme.weights, scheme.input_activations
    assert getattr(w.type, "value", w.type) == "float" and w.symmetric and not w.dynamic
    strategy = getattr(w.strategy, "value", w.strategy)
    if w.num_bits == 8:
        inputs = (a.num_bits, getattr(a.strategy, "value", a.strategy), a.group_size, a.dynamic)
        assert inputs == {"channel": (8, "token", None, True), "block": (8, "group", 128, True)}[strategy]
        assert strategy == "channel" or list(w.block_structure) == [128, 128]
        return f"fp8-{strategy}"
    assert a is None
    return {("tensor_group", 16): "nvfp4", ("group", 32): "mxfp4"}[strategy, w.group_size]


def in_float32(p, scheme):
    """The library's arithmetic on our parts, in float32 throughout."""
    w = scheme.weights
    if w.num_bits == 8:
        return dequantize(p["weight"], p["weight_scale"], args=w, dtype=torch.float32)
    packed = p["weight_packed"]
    x = unpack_fp4_from_uint8(packed, packed.shape[0], 2 * packed.shape[1], dtype=torch.float32)
    codec = BaseCompressor.get_value_from_registry(FLOATS[spelled_float(scheme)])
    return dequantize(x, codec._decompress_scale(p["weight_scale"], torch.float32), args=w,
                      global_scale=p.get("weight_global_scale"), dtype=torch.float32)


def extremes(w, args):
    """-> smallest and largest of each row, block or group"""
    if args.group_size:
        g = w.reshape(w.shape[0], -1, args.group_size)
    elif args.block_structure:
        rows, cols = args.block_structure
        assert w.shape[1] % cols == 0
        pad = torch.nn.functional.pad(w, (0, 0, 0, -w.shape[0] % rows))
        g = pad.reshape(-1, rows, w.shape[1] // cols, cols).transpose(1, 2).flatten(2)
    else:
        g = w[:, None]
    return g.amin(-1), g.amax(-1)


def made_by_library(p, w, scheme):
    """-> our parts as the library makes them of W: its scales, its codes"""
    args, out = scheme.weights, {}
    codec = BaseCompressor.get_value_from_registry(FLOATS[spelled_float(scheme)])
    scale, _ = calculate_qparams(*extremes(w, args), args, p.get("weight_global_scale"))
    out = {"weight": w, "weight_scale": scale.float()}
    if "weight_global_scale" in p:
        out["weight_global_scale"] = p["weight_global_scale"]
    return codec.compress(out, scheme)


def without_minus_zero(t):
    """FP4 codes as the library has them: it drops the sign of -0."""
    low, high = t & 15, t >> 4
    return torch.where(low == 8, 0, low) | torch.where(high == 8, 0, high) << 4


def same_parts(made, p):
    return set(made) == set(p) and all(
        same(without_minus_zero(made[k]), without_minus_zero(p[k])) if k == "weight_packed" else
        same(made[k], p[k]) for k in p)


def floats(label, model, scheme, *rules):
    tag = f"{label}-{scheme}" + ("-mixed" if rules else "")
    name, out, back = tag.replace("-", " ", 1), work(tag), work(tag + "-f32")
    hf = work(label + "-hf")
    plan = grokkit_json("quantize", model, out, "--scheme", scheme, *rules)["plan"]
    grokkit("convert", out, back, "--to", "hf", "--dtype", "f32", "-q")
    config, stored, plain, back = config_of(out), load(out), load(hf), load(back)
    schemes = matched(plain, config)
    want = {t["name"].removesuffix(".weight"): t["to"] for t in plan["tensors"] if t["to"] != "keep"}
    check(f"{name}: the library matches each module with the scheme it has",
          {m: spelled_float(s) for m, s in schemes.items()} == want,
          f"{len(schemes)} modules, {config.format}, {' '.join(sorted(set(want.values())))}")
    equal, bf16, worst, made = 0, 0, 0.0, 0
    for m, s in schemes.items():
        p, f32 = parts(stored, m), back[m + ".weight"]
        equal += same(in_float32(p, s), f32)
        codec = BaseCompressor.get_value_from_registry(s.format or config.format)
        theirs = codec.decompress(dict(p), s)["weight"].float()
        bf16 += same(theirs, f32)
        worst = max(worst, float(((theirs - f32).abs() / f32.abs().clamp(min=1e-30)).max()))
        made += same_parts(made_by_library(p, plain[m + ".weight"].float(), s), p)
    check(f"{name}: the library's arithmetic in float32 gives what convert --dtype f32 writes, bit for bit",
          equal == len(schemes) > 0, f"{equal} of {len(schemes)} modules")
    if "nvfp4" in want.values():        # which it decompresses in bfloat16
        check(f"{name}: decompressed by the library, off by no more than bfloat16 is", worst <= BF16_STEP,
              f"{worst:.2e} of a value")
    else:
        check(f"{name}: decompressed by the library, the same", bf16 == len(schemes),
              f"{bf16} of {len(schemes)} modules")
    check(f"{name}: the library's scales and codes, in float32, are ours", made == len(schemes),
          f"{made} of {len(schemes)} modules")
    return stored, schemes, plain, config


def asked_for(name, stored, schemes, plain, config):
    """Every parameter that the library's modules ask for, and no other."""
    root = tree(plain)
    apply_quantization_config(root, config, show_progress=False)
    for m in root.modules():
        if getattr(m, "quantization_scheme", None) is not None:
            compress_module(m)
    want = {n: tuple(t.shape) for n, t in root.state_dict().items()}
    got = {n: tuple(t.shape) for n, t in stored.items()}
    check(f"{name}: names and shapes are those the library's modules ask for", got == want,
          f"{len(got)} stored tensors" if got == want else str(sorted(set(got.items()) ^ set(want.items()))[:4]))


def shared(stored, plain):
    """NVFP4: one global scale for what engines fuse, the library's for all of it."""
    sets = {}
    for n in stored:
        if n.endswith(".weight_global_scale"):
            m = n.removesuffix(".weight_global_scale")
            key = m
            for part, to in (("q_proj", "qkv"), ("k_proj", "qkv"), ("v_proj", "qkv"), ("gate_proj", "gu"),
                             ("up_proj", "gu")):
                key = key.replace(part, to)
            if ".experts." in m:
                key = m.split(".experts.")[0] + (".w2" if m.endswith("w2") else ".w13")
            sets.setdefault(key, []).append(m)
    ok = 0
    for members in sets.values():
        w = torch.cat([plain[m + ".weight"].float().flatten() for m in members])
        g = generate_gparam(w.min(), w.max())
        ok += all(same(stored[m + ".weight_global_scale"], g) for m in members)
    check("tiny nvfp4: fused matrices have the library's global scale of all of them", ok == len(sets) > 0,
          f"{ok} of {len(sets)} sets")


def all_floats():
    for label, model in (("tiny", TINY), ("odd", os.path.join(MODELS, "odd"))):
        for scheme in FLOATS:
            stored, schemes, plain, config = floats(label, model, scheme)
            if label == "tiny":
                asked_for(f"tiny {scheme}", stored, schemes, plain, config)
            if (label, scheme) == ("tiny", "nvfp4"):
                shared(stored, plain)
    floats("tiny", TINY, "fp8-channel", "--rule", "experts=nvfp4", "--rule", r"layers\.1\.mlp=mxfp4")


def main():
    logger.remove()
    torch.set_num_threads(1)        # spinning threads lose on a busy machine
    directories("tiny", TINY, SCHEMES)
    directories("odd", os.path.join(MODELS, "odd"), ["int4", "int8-g64", "int4-channel", "int4-g64-asym"])
    all_floats()


main()
