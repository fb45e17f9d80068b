"""Flax files: trees that the flax package serializes and maps that the msgpack package packs, as grokkit
reads them; and what grokkit makes of them, as flax and safetensors read it."""
import os

import flax.serialization as fs
import ml_dtypes
import msgpack
import numpy as np
from safetensors import safe_open

from common import ROOT, check, grokkit, grokkit_json, sha256, work

NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
         "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL"}


def leaves(tree, path=()):
    """-> {dotted path: array}; lists become maps with the keys "0", "1", as flax has it"""
    if isinstance(tree, (list, tuple)):
        tree = {str(i): v for i, v in enumerate(tree)}
    if isinstance(tree, dict):
        return {k: v for key, sub in tree.items() for k, v in leaves(sub, (*path, key)).items()}
    return {".".join(path): np.asarray(tree)} if isinstance(tree, (np.ndarray, np.generic)) else {}


def random_tree(rng):
    def array(dtype):
        shape = tuple(rng.integers(1, 9, rng.integers(0, 4)))
        return np.asarray(rng.integers(0, 256, (*shape, 8), dtype=np.uint8).view(np.int64)[..., 0] % 2
                          if dtype == "bool" else rng.standard_normal(shape) * 50).astype(
                              ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)

    def node(depth):
        if depth == 0 or rng.random() < 0.2:
            return array(rng.choice(list(NAMES)))
        many = [node(depth - 1) for _ in range(rng.integers(1, 5))]
        return many if rng.random() < 0.3 else {f"n{rng.integers(1 << 40):x}": v for v in many}

    return {"params": {f"k{i}": node(4) for i in range(6)}, "step": np.int32(rng.integers(1 << 20))}


def same(what, path, want):
    """The catalog: names, dtypes, shapes and the digest of every leaf's bytes."""
    rows = {t["name"]: (t["dtype"], tuple(t["shape"])) for t in grokkit_json("inspect", path)["tensors"]}
    digests = {t["name"]: t["sha256"] for t in grokkit_json("hash", path)["tensors"]}
    expected = {n: (NAMES[v.dtype.name], v.shape) for n, v in want.items()}
    equal = sum(digests.get(n) == sha256(v.tobytes()) for n, v in want.items())
    check(what, rows == expected and equal == len(want) == len(digests), f"{equal} of {len(want)} leaves")


def serialized(rng):
    for i in range(8):
        tree = random_tree(rng)
        with open(work(f"tree{i}.msgpack"), "wb") as f:
            f.write(fs.to_bytes(tree))
        same(f"tree {i} that flax serializes", work(f"tree{i}.msgpack"), leaves(tree))
    limit = fs.MAX_CHUNK_SIZE
    fs.MAX_CHUNK_SIZE = 256
    tree = {"a": rng.standard_normal((33, 70)).astype("float32"), "b": {"c": np.arange(999, dtype="int16")},
            "d": rng.standard_normal(5000).astype(ml_dtypes.bfloat16)}
    with open(work("chunked.msgpack"), "wb") as f:
        f.write(fs.msgpack_serialize(tree))
    fs.MAX_CHUNK_SIZE = limit
    same("arrays that flax cut in chunks of 256 bytes", work("chunked.msgpack"), leaves(tree))


def packed(rng):
    """The same format, packed by the msgpack package alone, in each of its forms of a length."""
    def ext(a):
        return msgpack.ExtType(1, msgpack.packb((a.shape, a.dtype.name, a.tobytes())))

    many = {f"t{i}": rng.integers(-99, 99, n).astype("int8") for i, n in enumerate((0, 1, 200, 300, 70000))}
    tree = {"small": {k: ext(v) for k, v in many.items()},
            "map16": {f"x{i}": ext(np.full((2, i % 3), i, "float32")) for i in range(40)},
            "scalar": msgpack.ExtType(3, msgpack.packb(((), "float64", np.float64(2.5).tobytes())))}
    want = leaves({"small": many, "map16": {f"x{i}": np.full((2, i % 3), i, "float32") for i in range(40)},
                   "scalar": np.float64(2.5)})
    whole = msgpack.packb(tree)
    for what, data in (("a map that msgpack packs", whole),
                       ("the same by its streaming packer", b"".join(stream(tree)))):
        with open(work("packed.msgpack"), "wb") as f:
            f.write(data)
        same(what, work("packed.msgpack"), want)
    for what, data in (("a byte after the end", whole + b"\0"), ("a cut tail", whole[:-1])):
        with open(work("bad.msgpack"), "wb") as f:
            f.write(data)
        try:
            msgpack.unpackb(data, strict_map_key=False)
            refused = False
        except ValueError:
            refused = True
        grokkit("inspect", work("bad.msgpack"), expect=3)
        check(f"{what} is refused by both", refused)


def stream(tree):
    packer = msgpack.Packer()
    yield packer.pack_map_header(len(tree))
    for key, value in tree.items():
        yield packer.pack(key)
        yield packer.pack(value)


def converted():
    """flax-tiny's bytes as flax restores them, against the safetensors that grokkit writes."""
    for name in ("model", "chunked"):
        path = os.path.join(ROOT, "testdata", "flax-tiny", f"{name}.msgpack")
        with open(path, "rb") as f:
            want = leaves(fs.msgpack_restore(f.read()))
        grokkit("convert", path, work(name), "--to", "hf", "-q")
        got = {}
        for file in sorted(os.listdir(work(name))):
            if file.endswith(".safetensors"):
                with safe_open(os.path.join(work(name), file), "flax") as f:
                    got.update({k: np.asarray(f.get_tensor(k)) for k in f.keys()})
        narrow = {"int64": "int32", "float64": "float32"}  # jax without x64 reads them so
        equal = sum(n in got and got[n].shape == v.shape
                    and (v.dtype.name in narrow and np.array_equal(got[n], v.astype(narrow[v.dtype.name]))
                         or got[n].tobytes() == v.tobytes()) for n, v in want.items())
        check(f"{name}.msgpack to hf: safetensors' flax reader has the bytes that flax restores",
              equal == len(want) == len(got), f"{equal} of {len(want)}")


def main():
    rng = np.random.default_rng(11)
    serialized(rng)
    packed(rng)
    converted()


if __name__ == "__main__":
    main()
