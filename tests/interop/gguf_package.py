"""GGUF files as the gguf package reads them (its readers, its names, its dequantizers), and files
that it writes as grokkit reads them."""
import os
import re

import gguf
import numpy as np

from common import TINY, check, grokkit, joined, ref, work

MODELS = os.path.join("build", "models")
MIXES = ["Q8_0", "Q4_K_M", "Q2_K", "Q3_K_M", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q5_K_S", "Q6_K", "IQ4_NL",
         "IQ4_XS", "MXFP4_MOE"]
EXPERTS = {"w1": "linear", "w2": "linear_1", "w3": "linear_v"}   # llama.cpp conversion/grok.py
Type = gguf.GGUFValueType


def stored_names(names, layers):
    """Hugging Face name -> (name in the GGUF, number of the expert or None), by the package's map."""
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GROK, layers)
    out = {}
    for name in names:
        m = re.fullmatch(r"model\.layers\.(\d+)\.block_sparse_moe\.experts\.(\d+)\.(w\d)\.weight", name)
        if m:
            merged = f"transformer.decoder_layer.{m.group(1)}.moe.{EXPERTS[m.group(3)]}.weight"
            out[name] = table.get_name(merged, (".weight",)), int(m.group(2))
        else:
            out[name] = table.get_name(name, (".weight",)), None
    return out


def keys_of(c, file_type, quantized):
    """facts/grok2.md 5.1: every key but the tokenizer's, with its type."""
    u32 = {"block_count": "num_hidden_layers", "context_length": "max_position_embeddings",
           "embedding_length": "hidden_size", "feed_forward_length": "intermediate_size",
           "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
           "attention.key_length": "head_dim", "attention.value_length": "head_dim",
           "expert_count": "num_local_experts", "expert_used_count": "num_experts_per_tok",
           "expert_feed_forward_length": "moe_intermediate_size",
           "attention.temperature_length": "attn_temperature_len"}
    f32 = {"attention.layer_norm_rms_epsilon": "rms_norm_eps", "rope.freq_base": "rope_theta",
           "embedding_scale": "embedding_multiplier_scale", "logit_scale": "output_multiplier_scale",
           "attn_logit_softcapping": "attn_logit_softcapping",
           "router_logit_softcapping": "router_logit_softcapping",
           "final_logit_softcapping": "final_logit_softcapping"}
    out = {"general.architecture": (Type.STRING, "grok"), "general.type": (Type.STRING, "model"),
           "general.name": (Type.STRING, "Grok-2"), "general.file_type": (Type.UINT32, int(file_type)),
           "grok.attention.output_scale": (Type.FLOAT32, np.float32(c["head_dim"] ** -0.5))}
    if quantized:
        out["general.quantization_version"] = (Type.UINT32, gguf.GGML_QUANT_VERSION)
    out |= {"grok." + k: (Type.UINT32, c[v]) for k, v in u32.items()}
    out |= {"grok." + k: (Type.FLOAT32, np.float32(c[v])) for k, v in f32.items()}
    return out


def fields(reader):
    return {k: (f.types[0], f.contents()) for k, f in reader.fields.items() if not k.startswith("GGUF.")}


def read(paths):
    """-> {name: (type, dims slowest first, f32 values)}"""
    out = {}
    for path in paths:
        for t in gguf.GGUFReader(path).tensors:
            assert t.name not in out, t.name
            dims = tuple(int(v) for v in reversed(t.shape.tolist()))
            values = gguf.quants.dequantize(t.data, t.tensor_type).reshape(dims).astype(np.float32)
            out[t.name] = t.tensor_type.name, dims, values
    return out


def same_bits(a, b):
    return a.shape == b.shape and np.array_equal(a.view(np.uint32), b.view(np.uint32))


def as_hf(path, name):
    """-> {Hugging Face name: f32} that grokkit makes of a GGUF"""
    out = work(name)
    grokkit("convert", path, out, "--to", "hf", "--dtype", "f32", "-q")
    raw = ref.load_raw(out)
    assert all(t == "F32" for t, _ in raw.values())
    return {n: a for n, (_, a) in raw.items()}


def one(label, paths, raw, names, plain):
    """Names, shapes and values of a file or a set, against numpy's view of the release and ours."""
    theirs = read(paths)
    want = {}
    for name, (stored, expert) in names.items():
        dims = raw[name][1].shape
        want[stored] = dims if expert is None else (1 + max(expert, want.get(stored, (0,))[0] - 1),) + dims
    got = {n: dims for n, (_, dims, _) in theirs.items()}
    check(f"{label}: names and shapes are the package's", got == want, f"{len(got)} tensors")
    ours = as_hf(paths[0], label.replace(" ", "-"))
    equal = 0
    for name, (stored, expert) in names.items():
        values = theirs[stored][2] if expert is None else theirs[stored][2][expert]
        ok = same_bits(values, ours[name])
        if plain:
            ok = ok and same_bits(values, ref.to_f64(*raw[name]).astype(np.float32))
        equal += ok
    check(f"{label}: the package's values are those of convert --to hf", equal == len(names) == len(ours),
          f"{equal} of {len(names)}")


def keys(label, path, want, extra=()):
    got = fields(gguf.GGUFReader(path))
    own = {k: v for k, v in got.items() if not k.startswith("tokenizer.") and k not in extra}
    wrong = sorted(k for k in own.keys() | want.keys()
                   if k not in own or k not in want or own[k] != (want[k][0], want[k][1]))
    check(f"{label}: every key has its type and value", not wrong, f"{len(own)} keys{' ' * bool(wrong)}"
          + " ".join(wrong))


def model(name, directory):
    raw, config = joined(directory), ref.load_config(directory)
    names = stored_names(raw, config["num_hidden_layers"])
    types = {"f32": gguf.LlamaFileType.ALL_F32, "bf16": gguf.LlamaFileType.MOSTLY_BF16}
    for dtype, file_type in types.items():
        path = work(f"{name}-{dtype}.gguf")
        grokkit("convert", directory, path, "--dtype", dtype, "-q")
        one(f"{name} {dtype}", [path], raw, names, plain=True)
        keys(f"{name} {dtype}", path, keys_of(config, file_type, False))
    for mix in MIXES:
        path = work(f"{name}-{mix}.gguf")
        grokkit("quantize", directory, path, "--scheme", mix, "-q")
        one(f"{name} {mix}", [path], raw, names, plain=False)
        file_type = getattr(gguf.LlamaFileType, "MOSTLY_" + mix)
        keys(f"{name} {mix}", path, keys_of(config, file_type, True))
    grokkit("quantize", directory, work(f"{name}-set.gguf"), "--scheme", "Q4_K_M", "--max-shard-size", "1500000", "-q")
    parts = sorted(f for f in os.listdir(work("")) if re.fullmatch(rf"{name}-set-\d+-of-\d+\.gguf", f))
    one(f"{name} set", [work(p) for p in parts], raw, names, plain=False)
    keys(f"{name} set of {len(parts)}", work(parts[0]),
         keys_of(config, gguf.LlamaFileType.MOSTLY_Q4_K_M, True)
         | {"split.no": (Type.UINT16, 0), "split.count": (Type.UINT16, len(parts)),
            "split.tensors.count": (Type.INT32, len(set(s for s, _ in names.values())))})


def yarn():
    """What conversion/grok.py writes for the release's rope_type."""
    c, path = ref.load_config(TINY), work("yarn.gguf")
    grokkit("convert", TINY, path, "--gguf-rope", "yarn", "-q")
    want = keys_of(c, gguf.LlamaFileType.MOSTLY_BF16, False)
    want["grok.rope.scaling.type"] = Type.STRING, gguf.RopeScalingType.YARN.value
    want["grok.rope.scaling.original_context_length"] = Type.UINT32, c["original_max_position_embeddings"]
    for k, v in {"factor": "scaling_factor", "yarn_ext_factor": "extrapolation_factor",
                 "yarn_attn_factor": "attn_factor", "yarn_beta_fast": "beta_fast",
                 "yarn_beta_slow": "beta_slow"}.items():
        want["grok.rope.scaling." + k] = Type.FLOAT32, np.float32(c[v])
    keys("--gguf-rope yarn", path, want)


def written_by_the_package():
    """Each type that the package can make, in one model each; grokkit decodes to the same bits."""
    rng = np.random.default_rng(5)
    hidden, dense, moe, experts, vocab = 64, 96, 32, 2, 32
    shapes = {"token_embd": (vocab, hidden), "output_norm": (hidden,), "output": (vocab, hidden),
              "blk.0.attn_norm": (hidden,), "blk.0.attn_q": (64, hidden), "blk.0.attn_k": (32, hidden),
              "blk.0.attn_v": (32, hidden), "blk.0.attn_output": (hidden, 64), "blk.0.attn_output_norm": (hidden,),
              "blk.0.ffn_norm": (hidden,), "blk.0.ffn_gate": (dense, hidden), "blk.0.ffn_up": (dense, hidden),
              "blk.0.ffn_down": (hidden, dense), "blk.0.ffn_gate_inp": (experts, hidden),
              "blk.0.ffn_gate_exps": (experts, moe, hidden), "blk.0.ffn_up_exps": (experts, moe, hidden),
              "blk.0.ffn_down_exps": (experts, hidden, moe), "blk.0.post_ffw_norm": (hidden,)}
    for kind in ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"):
        qtype, path = gguf.GGMLQuantizationType[kind], work(f"package-{kind}.gguf")
        w = gguf.GGUFWriter(path, "grok")
        w.add_block_count(1)
        w.add_context_length(64)
        w.add_embedding_length(hidden)
        w.add_feed_forward_length(dense)
        w.add_expert_feed_forward_length(moe)
        w.add_expert_count(experts)
        w.add_expert_used_count(1)
        w.add_head_count(2)
        w.add_head_count_kv(1)
        w.add_key_length(32)
        w.add_value_length(32)
        w.add_layer_norm_rms_eps(1e-5)
        values = {}
        for name, shape in shapes.items():
            a = rng.standard_normal(shape).astype(np.float32)
            if len(shape) > 1 and kind != "F32" and "gate_inp" not in name:
                q = gguf.quants.quantize(a, qtype)
                values[name + ".weight"] = gguf.quants.dequantize(q, qtype).astype(np.float32)
                w.add_tensor(name + ".weight", q, raw_dtype=qtype)
            else:
                values[name + ".weight"] = a
                w.add_tensor(name + ".weight", a)
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        ours = as_hf(path, f"package-{kind}-hf")
        names = stored_names(ours, 1)
        equal = sum(same_bits(values[s] if e is None else values[s][e], ours[n]) for n, (s, e) in names.items())
        check(f"the package's file of {kind}: grokkit has its values", equal == len(ours)
              == len(shapes) + 3 * (experts - 1), f"{equal} of {len(ours)}")
        copy = work(f"package-{kind}-copy.gguf")
        grokkit("convert", path, copy, "-q")
        a, b = read([path]), read([copy])
        check(f"the package's file of {kind}: the copy holds the same",
              a.keys() == b.keys() and all(a[n][:2] == b[n][:2] and same_bits(a[n][2], b[n][2]) for n in a)
              and fields(gguf.GGUFReader(path)).keys() <= fields(gguf.GGUFReader(copy)).keys())


model("grok2-tiny", TINY)
model("odd", os.path.join(MODELS, "odd"))
yarn()
written_by_the_package()
