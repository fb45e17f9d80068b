"""The merged copy: against one that numpy made, and as the safetensors package reads it."""
import json
import os

from safetensors import deserialize, safe_open

from common import TINY, check, files_of, golden, grokkit, grokkit_json, ref, sha256, work
import merge_tp


def read_all(directory):
    """Through the package's own (Rust) reader -> {name: (dtype, shape, bytes)}, {name: file}"""
    tensors, where = {}, {}
    for file in sorted(f for f in os.listdir(directory) if f.endswith(".safetensors")):
        with open(os.path.join(directory, file), "rb") as f:
            for name, t in deserialize(f.read()):
                assert name not in tensors, name
                tensors[name] = (t["dtype"], tuple(t["shape"]), bytes(t["data"]))
                where[name] = file
    return tensors, where


def payload(directory, file):
    """-> bytes of tensor data in a file, from its length and its header's"""
    path = os.path.join(directory, file)
    with open(path, "rb") as f:
        return os.path.getsize(path) - 8 - int.from_bytes(f.read(8), "little")


def catalog(model):
    j = grokkit_json("inspect", model)
    return {t["name"]: (t["dtype"], tuple(t["shape"]), t["bytes"]) for t in j["tensors"]}, j["totals"]


def same_as_numpy(ours, theirs):
    a, _ = read_all(ours)
    b, _ = read_all(theirs)
    check("names, dtypes and shapes are those of the copy merged by numpy",
          {n: v[:2] for n, v in a.items()} == {n: v[:2] for n, v in b.items()}, f"{len(a)} tensors")
    equal = sum(a.get(n) == b[n] for n in b)
    check("every tensor's bytes are those of the copy merged by numpy", equal == len(b) == len(a),
          f"{equal} of {len(b)}")
    return a


def catalogs(ours, theirs):
    want = {n: (t["dtype"], tuple(t["shape"]), t["bytes"]) for n, t in golden()["tensors"].items()}
    for model, stored in ((TINY, 411), (ours, 75), (theirs, 75)):
        rows, totals = catalog(model)
        what = "the release" if model == TINY else "ours" if model == ours else "numpy's"
        check(f"inspect of {what}: catalog and totals", rows == want and totals == {
            "tensors": 75, "stored": stored, "parameters": 4790528, "bytes": 9581056},
            f"{totals['tensors']} tensors, {totals['stored']} stored, {totals['parameters']} parameters")
        digests = {t["name"]: t["sha256"] for t in grokkit_json("hash", model)["tensors"]}
        equal = sum(digests.get(n) == t["sha256"] for n, t in golden()["tensors"].items())
        check(f"hash of {what}: the golden digests", equal == len(digests) == 75, f"{equal} of 75")


def metadata(directory):
    seen = []
    for file in sorted(f for f in os.listdir(directory) if f.endswith(".safetensors")):
        with safe_open(os.path.join(directory, file), "np") as f:
            seen.append(f.metadata())
    check('metadata is {"format": "pt"} in every file', all(m == {"format": "pt"} for m in seen),
          f"{len(seen)} files")


def header_form(directory):
    """Widest dtype first, then names; the buffer begins on 8 bytes."""
    for file in sorted(f for f in os.listdir(directory) if f.endswith(".safetensors")):
        path = os.path.join(directory, file)
        with open(path, "rb") as f:
            n = int.from_bytes(f.read(8), "little")
            text = f.read(n)
        order = [(ref.WIDEST_FIRST.index(t["dtype"]), name) for name, t in json.loads(text).items()
                 if name != "__metadata__"]
        if n % 8 or order != sorted(order) or not text.startswith(b'{"__metadata__"'):
            return check("headers follow the reference writer", False, file)
    return check("headers follow the reference writer: aligned, widest first, then by name", True)


def shards(whole):
    out = work("shards")
    grokkit("convert", TINY, out, "--to", "hf", "--max-shard-size", "1MB", "-q")
    tensors, where = read_all(out)
    check("shards hold the same tensors", tensors == whole, f"{len(set(where.values()))} files")
    sizes = {f: payload(out, f) for f in set(where.values())}
    check("no shard has more than 1 MB of tensor data", max(sizes.values()) <= 1000000,
          f"largest {max(sizes.values())}")
    n = len(sizes)
    check("shards are named model-0000I-of-0000N",
          sorted(sizes) == [f"model-{i:05d}-of-{n:05d}.safetensors" for i in range(1, n + 1)])
    with open(os.path.join(out, "model.safetensors.index.json"), encoding="utf-8") as f:
        index = json.load(f)
    check("the index names each tensor's file", index["weight_map"] == where)
    check("the index has the total size", index["metadata"] == {"total_size": 9581056})
    metadata(out)
    header_form(out)
    check("shards read again give the same catalog", catalog(out)[0] == catalog(TINY)[0])


def config(directory):
    with open(os.path.join(directory, "config.json"), encoding="utf-8") as f:
        ours = json.load(f)
    with open(os.path.join(TINY, "config.json"), encoding="utf-8") as f:
        want = json.load(f)
    want.update({f"load_presharded_{part}": False for part in ("moe", "mlp", "attn", "embedding")})
    check("config.json is the release's plus load_presharded_*: false", ours == want)


def threads():
    for args in ((), ("--max-shard-size", "1MB")):
        seen = []
        for t in (1, 2, 7):
            out = work(f"threads{t}-{len(args)}")
            grokkit("convert", TINY, out, "--to", "hf", "-t", t, "-q", *args)
            seen.append(files_of(out))
        check(f"1, 2 and 7 threads write the same files{' in shards' if args else ''}",
              seen[0] == seen[1] == seen[2], f"{len(seen[0])} files")


def twice():
    """A merged copy of a merged copy, and the weights of a copy in float32."""
    grokkit("convert", work("ours"), work("again"), "--to", "hf", "-q")
    check("a copy of the copy has the same weights file",
          files_of(work("again"))["model.safetensors"] == files_of(work("ours"))["model.safetensors"])
    grokkit("convert", TINY, work("f32"), "--to", "hf", "--dtype", "f32", "-q")
    wide, raw = ref.load_raw(work("f32")), ref.load_raw(TINY)
    equal = sum(t == "F32" and a.tobytes() == ref.bf16_to_f32(raw[n][1]).tobytes()
                for n, (t, a) in wide.items())
    check("--dtype f32 widens every value exactly", equal == 75, f"{equal} of 75")


def main():
    theirs, ours = work("theirs"), work("ours")
    merge_tp.merge(TINY, theirs)
    grokkit("convert", TINY, ours, "--to", "hf", "-q")
    whole = same_as_numpy(ours, theirs)
    check("digests of the bytes as the package reads them are the golden ones",
          {n: sha256(v[2]) for n, v in whole.items()}
          == {n: t["sha256"] for n, t in golden()["tensors"].items()})
    catalogs(ours, theirs)
    metadata(ours)
    header_form(ours)
    config(ours)
    shards(whole)
    threads()
    twice()


main()
