#!/usr/bin/env python3
"""Writes the files beside it with the gguf package (0.19.0): usage make_gguf.py DIR.

grok.gguf   two experts of a miniature Grok-2, alignment 64, every metadata type
grok-0000N-of-00002.gguf   the same tensors, split in two
llama.gguf  Q and K permuted as llama.cpp's converter does (conversion/llama.py, permute)
Element i of every F32 tensor of the model is its index plus 1000 times the tensor's number.
"""
import os
import sys

import gguf
import numpy as np

HID, HEADS, KV, D, FF, MOE, E, VOC = 8, 2, 1, 4, 12, 6, 2, 10


def values(number, *shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape) + 1000 * number


def permute(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def grok_keys(w):
    w.add_block_count(1)
    w.add_context_length(64)
    w.add_embedding_length(HID)
    w.add_feed_forward_length(FF)
    w.add_expert_feed_forward_length(MOE)
    w.add_expert_count(E)
    w.add_expert_used_count(1)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_key_length(D)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(208533496.0)
    w.add_embedding_scale(90.50966799187809)
    w.add_logit_scale(0.5)
    w.add_float32("grok.attention.output_scale", 0.5)
    w.add_attn_logit_softcapping(30.0)
    w.add_float32("grok.router_logit_softcapping", 30.0)


def grok_tensors():
    yield "token_embd.weight", values(1, VOC, HID)
    yield "output_norm.weight", values(2, HID)
    yield "output.weight", values(3, VOC, HID).astype(np.float16)
    b = "blk.0."
    for i, (n, s) in enumerate([("attn_norm", (HID,)), ("attn_q", (HEADS * D, HID)), ("attn_k", (KV * D, HID)),
                                ("attn_v", (KV * D, HID)), ("attn_output", (HID, HEADS * D)),
                                ("attn_output_norm", (HID,)), ("ffn_norm", (HID,)), ("ffn_gate", (FF, HID)),
                                ("ffn_up", (FF, HID)), ("ffn_down", (HID, FF)), ("ffn_gate_inp", (E, HID)),
                                ("ffn_gate_exps", (E, MOE, HID)), ("ffn_up_exps", (E, MOE, HID)),
                                ("ffn_down_exps", (E, HID, MOE)), ("post_ffw_norm", (HID,))]):
        yield b + n + ".weight", values(4 + i, *s)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main(out):
    w = gguf.GGUFWriter(os.path.join(out, "grok.gguf"), "grok")
    w.add_custom_alignment(64)
    grok_keys(w)
    w.add_uint8("t.u8", 200)
    w.add_int8("t.i8", -3)
    w.add_uint16("t.u16", 60000)
    w.add_int16("t.i16", -300)
    w.add_uint32("t.u32", 4000000000)
    w.add_int32("t.i32", -70000)
    w.add_float32("t.f32", 0.25)
    w.add_bool("t.bool", True)
    w.add_string("t.string", "gr\u00fc\u00dfe")
    w.add_uint64("t.u64", 1 << 63)
    w.add_int64("t.i64", -(1 << 40))
    w.add_float64("t.f64", 1e-300)
    w.add_array("t.strings", ["", "a", "bc" * 5000])
    w.add_array("t.ints", [1, -2, 3])
    w.add_array("t.reals", [0.5, -1.5])
    for n, t in grok_tensors():
        w.add_tensor(n, t)
    finish(w)

    tensors = list(grok_tensors())
    for no, part in enumerate([tensors[:5], tensors[5:]]):
        w = gguf.GGUFWriter(os.path.join(out, "grok-%05d-of-00002.gguf" % (no + 1)), "grok")
        if no == 0:
            grok_keys(w)
        w.add_uint16("split.no", no)
        w.add_uint16("split.count", 2)
        w.add_int32("split.tensors.count", len(tensors))
        for n, t in part:
            w.add_tensor(n, t)
        finish(w)

    w = gguf.GGUFWriter(os.path.join(out, "llama.gguf"), "llama")
    w.add_block_count(1)
    w.add_context_length(64)
    w.add_embedding_length(HID)
    w.add_feed_forward_length(FF)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV)
    w.add_layer_norm_rms_eps(1e-6)
    w.add_tensor("token_embd.weight", values(1, VOC, HID))
    w.add_tensor("output_norm.weight", values(2, HID))
    w.add_tensor("blk.0.attn_q.weight", permute(values(3, HEADS * D, HID), HEADS))
    w.add_tensor("blk.0.attn_q.bias", permute(values(4, HEADS * D), HEADS))
    w.add_tensor("blk.0.attn_k.weight", permute(values(5, KV * D, HID), KV))
    w.add_tensor("blk.0.ffn_gate.weight", gguf.quantize(values(6, 2, 64), gguf.GGMLQuantizationType.Q8_0),
                 raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    finish(w)


if __name__ == "__main__":
    main(sys.argv[1])
