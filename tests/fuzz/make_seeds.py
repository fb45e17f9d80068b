#!/usr/bin/env python3
"""Writes the seeds in tests/fuzz/corpus that no file of testdata/ is: small, one idea each.

usage: tests/fuzz/make_seeds.py        (Python's own library only)
"""
import bz2, gzip, io, json, lzma, os, pickle, struct, tarfile, zipfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "corpus")


def put(target, name, data):
    os.makedirs(os.path.join(HERE, target), exist_ok=True)
    with open(os.path.join(HERE, target, name), "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)


def safetensors(tensors, meta=None, pad=True):
    header, data = {}, b""
    if meta:
        header["__metadata__"] = meta
    for name, dtype, shape, raw in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    if pad:
        text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def files(**parts):
    out = b""
    for name, data in parts.items():
        name = name.replace("__", "-").replace("_DOT_", ".")
        out += (b"\n" if out else b"") + b"--file " + name.encode() + b"\n"
        out += data if isinstance(data, bytes) else data.encode()
    return out


SMALL = safetensors([("model.norm.weight", "F32", [2], struct.pack("<2f", 1, 2)),
                     ("lm_head.weight", "BF16", [2, 2], b"\x80\x3f" * 4)], {"format": "pt"})


def s(text):
    text = text.encode()
    return struct.pack("<Q", len(text)) + text


def kv(key, kind, value):
    return s(key) + struct.pack("<I", kind) + value


def gguf(kvs, tensors, data=b"", version=3):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(kvs)) + b"".join(kvs)
    for name, dims, kind, off in tensors:
        out += s(name) + struct.pack("<I", len(dims)) + b"".join(struct.pack("<Q", d) for d in dims)
        out += struct.pack("<IQ", kind, off)
    return out + bytes(-len(out) % 32) + data


def arr(kind, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


put("safetensors", "small", SMALL)
put("safetensors", "all-types", safetensors(
    [(t, t, [4, 8], bytes(n)) for t, n in (("F64", 256), ("F32", 128), ("F16", 64), ("BF16", 64),
                                           ("I64", 256), ("U8", 32), ("BOOL", 32), ("F8_E4M3", 32),
                                           ("F8_E5M2", 32), ("F4", 16))]))
put("safetensors", "scalar", safetensors([("x", "F32", [], b"\0\0\x80\x7f"), ("zero", "I8", [0, 7], b"")]))
put("safetensors", "escapes", safetensors([("a\u0000\u001b[31m\"\\", "U8", [1], b"x")]))

put("gguf", "kinds", gguf(
    [kv("general.architecture", 8, s("llama")), kv("a", 0, b"\1"), kv("b", 3, b"\1\2"),
     kv("c", 6, struct.pack("<f", 1)), kv("d", 12, struct.pack("<d", 2)), kv("e", 7, b"\1"),
     kv("f", 9, arr(5, [struct.pack("<i", i) for i in range(3)])),
     kv("g", 9, arr(9, [arr(8, [s("x"), s("")]), arr(8, [])])), kv("h", 10, struct.pack("<Q", 5))],
    [("t", [4, 4], 0, 0), ("q", [32, 2], 8, 64), ("k", [256], 12, 160)], bytes(320)))
put("gguf", "tokens", gguf(
    [kv("general.architecture", 8, s("grok")), kv("general.alignment", 4, struct.pack("<I", 32)),
     kv("tokenizer.ggml.model", 8, s("gpt2")), kv("tokenizer.ggml.pre", 8, s("grok-2")),
     kv("tokenizer.ggml.tokens", 9, arr(8, [s(t) for t in ("a", "b", "ab", "<|separator|>", "<0x0A>")])),
     kv("tokenizer.ggml.token_type", 9, arr(5, [struct.pack("<i", t) for t in (1, 1, 1, 3, 6)])),
     kv("tokenizer.ggml.scores", 9, arr(6, [struct.pack("<f", -i) for i in range(5)])),
     kv("tokenizer.ggml.merges", 9, arr(8, [s("a b")])),
     kv("tokenizer.ggml.bos_token_id", 4, struct.pack("<I", 3)),
     kv("grok.block_count", 4, struct.pack("<I", 1)), kv("grok.expert_count", 4, struct.pack("<I", 2)),
     kv("grok.rope.scaling.type", 8, s("yarn")), kv("tokenizer.chat_template", 8, s("{{ x }}"))],
    [("token_embd.weight", [32, 5], 1, 0), ("blk.0.attn_q.weight", [32, 32], 2, 320),
     ("blk.0.ffn_gate_exps.weight", [32, 2, 2], 0, 896)], bytes(1408)))
put("gguf", "version-2", gguf([kv("general.architecture", 8, s("llama"))], [("t", [2], 0, 0)],
                              bytes(32), version=2))

put("imatrix", "gguf", gguf([kv("general.type", 8, s("imatrix"))],
                            [("blk.0.attn_q.weight.in_sum2", [4, 1], 0, 0),
                             ("blk.0.attn_q.weight.counts", [1, 1], 0, 32)],
                            struct.pack("<4f", 1, 2, 3, 4) + bytes(16) + struct.pack("<f", 8) + bytes(28)))
put("imatrix", "legacy", struct.pack("<ii", 1, 19) + b"blk.0.attn_q.weight"
    + struct.pack("<ii4fi", 2, 4, 1, 2, 3, 4, 7) + b"\5\0\0\0a.txt")


class Names(dict):
    pass


put("pickle", "plain-2", pickle.dumps({"a": [1, 2.5, None, (True,)], "b": b"xyz", 3: {4}}, 2))
put("pickle", "plain-4", pickle.dumps({"a": [1, -70000, 2**80], "b": "\u00e9" * 300}, 4))
put("pickle", "plain-5", pickle.dumps([bytearray(b"12"), b"q" * 300, frozenset([1])], 5))
put("pickle", "protocol-0", pickle.dumps({"a": [1, 2, "x"]}, 0))
put("pickle", "calls", b"cposix\nsystem\n(S'true'\ntR.")
cycle = []
cycle.append(cycle)
put("pickle", "cycle", pickle.dumps(cycle, 4))


def text(t):
    return bytes([0xA0 + len(t)]) + t.encode()


def ndarray(shape, dtype, raw):
    body = b"\x93" + bytes([0x90 + len(shape)]) + bytes(shape) + text(dtype) + b"\xc4" + bytes([len(raw)]) + raw
    return b"\xc7" + bytes([len(body)]) + b"\x01" + body


flat = ndarray([2, 2], "float32", struct.pack("<4f", 1, 2, 3, 4))
put("flax", "array", b"\x81" + text("params") + b"\x82" + text("w") + flat + text("b")
    + ndarray([3], "bfloat16", bytes(6)))
put("flax", "scalars", b"\x84" + text("i") + b"\xd3" + b"\xff" * 8 + text("f") + b"\xcb" + bytes(8)
    + text("n") + b"\xc0" + text("s") + b"\xc7\x0a\x03" + text("int32") + b"\xc4\x04" + bytes(4)[:3])
put("flax", "chunked", b"\x81" + text("w") + b"\x83" + b"\xba__msgpack_chunked_array__" + b"\xc3"
    + text("shape") + b"\x82" + text("0") + b"\x04" + text("1") + b"\x02" + text("chunks") + b"\x82"
    + text("0") + flat + text("1") + flat)
put("flax", "nested", b"\x81\xa1a" * 20 + b"\xc0")


def tar_of(kind, members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as t:
        for name, data, how in members:
            info = tarfile.TarInfo(name)
            info.type = how
            if how == tarfile.REGTYPE:
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
            else:
                info.linkname = data
                t.addfile(info)
    raw = out.getvalue().rstrip(b"\0")
    return raw + bytes(-len(raw) % 512 + 1024)  # not ten KiB of zeros


members = [("m/config.json", b"{}", tarfile.REGTYPE), ("m/model.safetensors", SMALL, tarfile.REGTYPE)]
plain = tar_of(tarfile.USTAR_FORMAT, members)
put("archive", "ustar", plain)
put("archive", "links", tar_of(tarfile.GNU_FORMAT, members + [("m/l", "../../x", tarfile.SYMTYPE),
                                                           ("m/h", "m/config.json", tarfile.LNKTYPE)]))
put("archive", "long", tar_of(tarfile.GNU_FORMAT, [("m/" + "x" * 120, b"1", tarfile.REGTYPE)] + members))
put("archive", "pax", tar_of(tarfile.PAX_FORMAT, [("m/\u00e9" + "y" * 120, b"1", tarfile.REGTYPE)] + members))
put("archive", "gz", gzip.compress(plain, mtime=0))
put("archive", "xz", lzma.compress(plain))
put("archive", "bz2", bz2.compress(plain))
out = io.BytesIO()
with zipfile.ZipFile(out, "w") as z:
    for name, data, how in members:
        z.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED if "config" in name else zipfile.ZIP_STORED)
put("archive", "zip", out.getvalue())

put("tok_json", "small", json.dumps({
    "vocab": [{"token_id": i, "bytes": [i]} for i in range(97, 103)]
    + [{"token_id": 103, "bytes": [97, 98]}],
    "special_tokens": [{"token": "<|separator|>", "token_id": 104}], "vocab_size": 105,
    "word_split": "V1", "pat_str": "\\p{L}+|\\s+", "model_max_len": 10}))
put("tokenizer_json", "bpe", json.dumps({
    "version": "1.0", "added_tokens": [{"id": 3, "content": "<|separator|>", "special": True,
                                        "single_word": False, "lstrip": False, "rstrip": False,
                                        "normalized": False}],
    "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
                                          "trim_offsets": True, "use_regex": True},
    "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2},
                                                "merges": ["a b"], "byte_fallback": False}}))
put("tokenizer_json", "pieces", json.dumps({
    "added_tokens": [{"id": 0, "content": "<unk>", "special": True}],
    "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
                   {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated", "invert": False}]},
    "model": {"type": "BPE", "vocab": {"<unk>": 0, "<0x61>": 1, "\u2581": 2, "b": 3, "\u2581b": 4},
              "merges": [["\u2581", "b"]], "byte_fallback": True, "unk_token": "<unk>"}}))


def field(number, raw):
    return bytes([number << 3 | 2, len(raw)]) + raw


def piece(name, score, kind):
    return field(1, field(1, name.encode()) + b"\x15" + struct.pack("<f", score) + b"\x18" + bytes([kind]))


put("sentencepiece", "small", piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("<0x61>", 0, 6)
    + piece("\u2581a", -1, 1) + piece("a", -2, 1) + field(2, b"\x18\x02\x88\x01\x01")
    + field(3, b"\x0a\x04nmt_" + field(2, b"\x08\0\0\0" + bytes(8) + b"a\0") + b"\x18\x01\x20\x01"))

index = {"metadata": {"total_size": 16}, "weight_map": {"model.norm.weight": "a.safetensors",
                                                        "lm_head.weight": "a.safetensors"}}
put("release", "index", files(**{"config_DOT_json": "{}", "a_DOT_safetensors": SMALL,
                                 "model_DOT_safetensors_DOT_index_DOT_json": json.dumps(index)}))
put("release", "split-gguf", files(**{
    "m__00001__of__00002_DOT_gguf": gguf([kv("split.no", 2, b"\0\0"), kv("split.count", 2, b"\2\0"),
                                          kv("split.tensors.count", 5, b"\2\0\0\0")],
                                         [("a", [2], 0, 0)], bytes(32)),
    "m__00002__of__00002_DOT_gguf": gguf([kv("split.no", 2, b"\1\0"), kv("split.count", 2, b"\2\0"),
                                          kv("split.tensors.count", 5, b"\2\0\0\0")],
                                         [("b", [2], 0, 0)], bytes(32))}))

put("sums", "list", files(**{
    "model_DOT_safetensors": SMALL, "a_DOT_txt": "abc",
    "SHA256SUMS": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  a.txt\n"
                  + "0" * 64 + " *model.safetensors\n" + "1" * 64 + "  ../up\n# \n"}))

put("recipe", "rules", "# keep\nlayers\\.63\\. = keep\nself_attn\\.  = int8-g128\n"
    "mlp=int4-g64-asym\n[x-z]+ = nvfp4\ndefault      = int4\n")
put("recipe", "ggml", "attn_v = Q6_K\n.* = q4_k_m\n=f16\n")
put("journal", "tiles", "about to compressed-tensors\ninput 0 1 2 3 4\n")
put("journal", "more", "tile 0 0 8 0 64 0x1p-3 0x1p+4\ntile 0 8 8 0 64 0x0p+0 inf\nvoid 0\n"
    "tile 1 0 1 0 32 nan 1\nrange 0 3f800000\nsealed\n")
put("journal", "raw", "!grokkit journal 1 plan 00\ntile\n")
