#!/usr/bin/env python3
"""What llama.cpp's llama-quantize makes of small models: quantized.txt beside this script.

    make_quantized.py LLAMA_BIN BUILD > quantized.txt

LLAMA_BIN is the folder with llama-quantize; BUILD holds tests/make_model (tests/models.sh has
run, so build/models/odd and eight are there). The GGUF files that go in are written by the gguf
package (0.19.0) from numpy's view of the weights. One line a tensor and type:

    MODEL TENSOR TYPE SHA256 MIX,MIX,...

SHA256 is that of the tensor's data, experts as their stack. Of models with many layers, where
their number counts, only types are kept: MODEL blk.*.KIND TYPE*N,TYPE*N,... - MIX,MIX,... goes
from layer to layer, and MIX+imatrix has an importance matrix of ones.
"""
import hashlib
import itertools
import os
import re
import subprocess
import sys
import tempfile

import gguf
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "reference"))
import grok2_reference as ref  # noqa: E402
from make_odd import merged  # noqa: E402

MIXES = ("Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K "
         "IQ4_NL IQ4_XS MXFP4_MOE").split()
COUNTED = re.compile(r"attn_v|attn_k\.|attn_output\.|ffn_down|token_embd|^output\.")

# facts/grok2.md 5.2; conversion/grok.py
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
IN_LAYER = {"pre_attn_norm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
            "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
            "post_attn_norm": "attn_output_norm", "pre_moe_norm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
            "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "block_sparse_moe.gate": "ffn_gate_inp",
            "post_moe_norm": "post_ffw_norm"}
EXPERT = {"w1": "ffn_gate_exps", "w2": "ffn_down_exps", "w3": "ffn_up_exps"}


def sizes(w, layers, hidden, dense, heads, kv, head_dim, experts=0, top_k=0):
    """The keys that a model cannot be opened without."""
    w.add_block_count(layers)
    w.add_context_length(256)
    w.add_embedding_length(hidden)
    w.add_feed_forward_length(dense)
    w.add_head_count(heads)
    w.add_head_count_kv(kv)
    w.add_key_length(head_dim)
    w.add_value_length(head_dim)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(64)
    if experts:
        w.add_expert_count(experts)
        w.add_expert_used_count(top_k)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def add(w, name, dtype, a):
    """BF16 as its bits; norms and the router in F32, as llama.cpp's converter stores them."""
    if dtype == "F32" or a.ndim == 1 or "ffn_gate_inp" in name:
        w.add_tensor(name + ".weight", ref.to_f64(dtype, a).astype(np.float32))
    else:
        a = np.ascontiguousarray(a)
        w.add_tensor(name + ".weight", a.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)


def write_grok(directory, path):
    c, raw = ref.load_config(directory), merged(directory)
    w = gguf.GGUFWriter(path, "grok")
    sizes(w, c["num_hidden_layers"], c["hidden_size"], c["intermediate_size"], c["num_attention_heads"],
          c["num_key_value_heads"], c["head_dim"], c["num_local_experts"], c["num_experts_per_tok"])
    w.add_expert_feed_forward_length(c["moe_intermediate_size"])
    for name, (dtype, a) in raw.items():
        m = re.fullmatch(r"model\.layers\.(\d+)\.(.*)\.weight", name)
        if m is None:
            add(w, WHOLE[name.removesuffix(".weight")], dtype, a)
        elif m.group(2) in IN_LAYER:
            add(w, f"blk.{m.group(1)}.{IN_LAYER[m.group(2)]}", dtype, a)
    for layer in range(c["num_hidden_layers"]):
        for part, stored in EXPERT.items():
            e = [raw[f"model.layers.{layer}.block_sparse_moe.experts.{i}.{part}.weight"]
                 for i in range(c["num_local_experts"])]
            add(w, f"blk.{layer}.{stored}", e[0][0], np.stack([a for _, a in e]))
    finish(w)


def write_llama(path, layers):
    """80 layers with fewer kv heads is what llama.cpp calls 70B; no output.weight: tied."""
    w = gguf.GGUFWriter(path, "llama")
    sizes(w, layers, 32, 64, 4, 2, 8)
    w.add_rope_dimension_count(8)
    zeros = lambda *shape: ("BF16", np.zeros(shape, np.uint16))  # noqa: E731
    add(w, "token_embd", *zeros(64, 32))
    add(w, "output_norm", *zeros(32))
    for i in range(layers):
        for name, shape in (("attn_norm", (32,)), ("attn_q", (32, 32)), ("attn_k", (16, 32)),
                            ("attn_v", (16, 32)), ("attn_output", (32, 32)), ("ffn_norm", (32,)),
                            ("ffn_gate", (64, 32)), ("ffn_up", (64, 32)), ("ffn_down", (32, 64))):
            add(w, f"blk.{i}.{name}", *zeros(*shape))
    finish(w)


def write_ones(model, path):
    """An importance matrix in GGUF: sums of squares and counts (llama.cpp tools/imatrix)."""
    w = gguf.GGUFWriter(path, "")
    w.add_string("general.type", "imatrix")
    w.add_array("imatrix.datasets", ["ones"])
    w.add_uint32("imatrix.chunk_count", 1)
    w.add_uint32("imatrix.chunk_size", 256)
    for t in gguf.GGUFReader(model).tensors:
        ne = [int(v) for v in t.shape]
        if len(ne) > 1:
            n = ne[2] if len(ne) > 2 else 1
            w.add_tensor(t.name + ".in_sum2", np.ones((n, ne[0]), np.float32))
            w.add_tensor(t.name + ".counts", np.ones((n, 1), np.float32))
    finish(w)


def quantize(tool, model, mix, out, *args):
    """-> {tensor: (type, sha256)}, None where llama-quantize refuses (Q2_K_S without imatrix)"""
    r = subprocess.run([tool, *args, model, out, mix], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if r.returncode != 0:
        assert b"requires an imatrix" in r.stdout, r.stdout.decode()
        return None
    return {t.name: (t.tensor_type.name, hashlib.sha256(t.data.tobytes()).hexdigest())
            for t in gguf.GGUFReader(out).tensors}


def digests(name, runs):
    merged_lines = {}
    for mix, tensors in runs.items():
        for tensor, (kind, digest) in tensors.items():
            merged_lines.setdefault((tensor, kind, digest), []).append(mix)
    for (tensor, kind, digest), mixes in sorted(merged_lines.items()):
        print(name, tensor, kind, digest, ",".join(mixes))


def types(name, runs):
    """Layer by layer, runs of one type as TYPE*N."""
    merged_lines = {}
    for mix, tensors in runs.items():
        kinds = {}
        for tensor in sorted(filter(COUNTED.search, tensors), key=lambda t: [int(n) for n in re.findall(r"\d+", t)]):
            kinds.setdefault(re.sub(r"\d+", "*", tensor), []).append(tensors[tensor][0])
        for kind, row in kinds.items():
            runs_of = [(t, len(list(g))) for t, g in itertools.groupby(row)]
            merged_lines.setdefault((kind, ",".join(f"{t}*{n}" for t, n in runs_of)), []).append(mix)
    for (kind, row), mixes in sorted(merged_lines.items()):
        print(name, kind, row, "-", ",".join(mixes))


def main():
    tool, build = os.path.join(sys.argv[1], "llama-quantize"), sys.argv[2]
    with tempfile.TemporaryDirectory() as d:
        model, out, ones = (os.path.join(d, n) for n in ("in.gguf", "out.gguf", "ones.gguf"))
        deep = os.path.join(d, "deep")
        subprocess.run([os.path.join(build, "tests", "make_model"), deep, "hidden=32", "heads=4", "kv_heads=1",
                        "head_dim=8", "dense=64", "moe=32", "experts=2", "layers=17", "vocab=300"], check=True)
        for name, source in (("grok2-tiny", os.path.join(ROOT, "testdata", "grok2-tiny")),
                             ("odd", os.path.join(ROOT, "build", "models", "odd")),
                             ("eight", os.path.join(ROOT, "build", "models", "eight")),
                             ("deep", deep), ("llama80", None)):
            if source is None:
                write_llama(model, 80)
            else:
                write_grok(source, model)
            write_ones(model, ones)
            runs = {}
            for mix in MIXES:
                runs[mix] = quantize(tool, model, mix, out)
                if source in (None, deep):
                    runs[mix + "+imatrix"] = quantize(tool, model, mix, out, "--imatrix", ones)
            runs = {mix: tensors for mix, tensors in runs.items() if tensors is not None}
            (types if source in (None, deep) else digests)(name, runs)


main()
