"""What the checks share: places, the binary, the count, other readings of our files."""
import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "testdata", "reference"))
import grok2_reference as ref  # noqa: E402

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build/release"
GROKKIT = os.path.join(BUILD, "grokkit")
TINY = os.path.join(ROOT, "testdata", "grok2-tiny")
GOLDEN = os.path.join(TINY, "golden")
HELDOUT = os.path.join(GOLDEN, "heldout.txt")
CALIBRATION = os.path.join(GOLDEN, "calibration.txt")

SUBJECT = os.path.splitext(os.path.basename(sys.argv[0]))[0]
WORK = os.path.join("build", "interop", SUBJECT)
shutil.rmtree(WORK, ignore_errors=True)
os.makedirs(WORK)


def check(what, ok, figure=""):
    """One line: 'ok' or 'FAIL', the sentence, the figure seen."""
    print(("ok   " if ok else "FAIL ") + f"{SUBJECT}: {what}" + (f" ({figure})" if figure else ""),
          flush=True)
    return ok


def work(name):
    return os.path.join(WORK, name)


def grokkit(*args, input=None, expect=0):
    """-> standard output, as bytes. Any other exit status is the end of the script."""
    r = subprocess.run([GROKKIT, *map(str, args)], input=input, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE)
    if r.returncode != expect:
        raise SystemExit(f"grokkit {' '.join(map(str, args))}: exit {r.returncode}, expected "
                         f"{expect}\n{r.stderr.decode(errors='replace')}")
    return r.stdout


def grokkit_json(*args, **kw):
    return json.loads(grokkit(*args, "--json", "-q", **kw))


def golden(directory=GOLDEN):
    with open(os.path.join(directory, "golden.json"), encoding="utf-8") as f:
        return json.load(f)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def files_of(directory):
    """-> {name: SHA-256} of every file"""
    return {n: ref.sha256_file(os.path.join(directory, n)) for n in sorted(os.listdir(directory))}


def write_ids(name, ids):
    path = work(name)
    with open(path, "w", encoding="ascii") as f:
        f.write(" ".join(map(str, ids)) + "\n")
    return path


def logits(model, ids_file, *args):
    """-> float64 [T, V] of grokkit's forward pass"""
    out = work("logits.npy")
    grokkit("eval", model, "--token-ids", ids_file, "--logits", out, "-q", *args)
    return np.load(out).astype(np.float64)


def largest(a, b):
    """Largest difference; inf when shapes differ or a value is no number."""
    if a.shape != b.shape:
        return float("inf")
    d = float(np.abs(a - b).max())
    return d if d == d else float("inf")


def joined(directory):
    """-> {name: (dtype, array)} of a release with any number of ranks"""
    import make_odd
    return make_odd.merged(directory)


def unpack(raw):
    """Codes, scales and zero points of `pack-quantized` tensors, in numpy.

    weight_packed     I32 [out, in * bits / 32]   u = q + 2^(bits-1), lowest bits first along in
    weight_scale      BF16 [out, groups]
    weight_zero_point I32 [out * bits / 32, groups], the same shift, lowest bits first along out

    raw {name: (dtype, array)} -> {name.weight: (bits, q int64 [out, in], scale float64
    [out, groups], zero int64 [out, groups])}
    """
    out = {}
    for name, (dtype, a) in raw.items():
        if not name.endswith(".weight_packed"):
            continue
        m = name[: -len("_packed")]
        rows, cols = (int(v) for v in raw[m + "_shape"][1])
        assert dtype == "I32" and a.shape[0] == rows
        bits = next(b for b in (4, 8) if a.shape[1] == -(-cols * b // 32))
        scale = ref.to_f64(*raw[m + "_scale"])
        zero = np.zeros(scale.shape, np.int64)
        q = fields(a, bits).reshape(rows, -1)[:, :cols] - (1 << (bits - 1))
        if m + "_zero_point" in raw:
            z = fields(raw[m + "_zero_point"][1].T, bits)           # [groups, words, 32 / bits]
            zero = z.reshape(scale.shape[1], -1).T[:rows] - (1 << (bits - 1))
        out[m] = (bits, q, scale, zero)
    return out


def fields(words, bits):
    """I32 [...] -> int64 [..., 32 / bits], lowest bits first"""
    at = np.arange(0, 32, bits, dtype=np.uint32)
    u = np.ascontiguousarray(words).view(np.uint32)[..., None] >> at
    return (u & np.uint32((1 << bits) - 1)).astype(np.int64)


def decoded(directory):
    """-> {name: float64} of a directory with packed and plain tensors"""
    raw = ref.load_raw(directory)
    out = {}
    for m, (_, q, scale, zero) in unpack(raw).items():
        wide = q.shape[1] // scale.shape[1]
        out[m] = (q - np.repeat(zero, wide, 1)) * np.repeat(scale, wide, 1)
    for name, v in raw.items():
        if not name.endswith(("_packed", "_scale", "_shape", "_zero_point")):
            out[name] = ref.to_f64(*v)
    return out
