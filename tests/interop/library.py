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
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32  # noqa: E402
from compressed_tensors.quantization import (  # noqa: E402
    QuantizationArgs, QuantizationConfig, QuantizationScheme, apply_quantization_config)
from compressed_tensors.quantization.utils import calculate_qparams  # noqa: E402
from llmcompressor import model_free_ptq  # noqa: E402
from loguru import logger  # noqa: E402
from safetensors import safe_open  # noqa: E402

from common import TINY, check, grokkit, grokkit_json, work  # noqa: E402

MODELS = os.path.join("build", "models")
SCHEMES = ["int4", "int8", "int4-g32", "int4-g64", "int4-g128", "int4-channel", "int8-g32", "int8-channel",
           "int4-g128-asym", "int4-g32-asym", "int4-channel-asym", "int8-g128-asym", "int8-channel-asym"]
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


def main():
    logger.remove()
    torch.set_num_threads(1)        # spinning threads lose on a busy machine
    directories("tiny", TINY, SCHEMES)
    directories("odd", os.path.join(MODELS, "odd"), ["int4", "int8-g64", "int4-channel", "int4-g64-asym"])


main()
