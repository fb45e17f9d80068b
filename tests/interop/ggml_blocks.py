"""Block types against ggml's own quantizer, which the package libggml-python ships compiled.

    ggml_blocks.py build/release             every row through both
    ggml_blocks.py build/release --digests   what ggml makes of tests/block_rows.h, as C
"""
import ctypes
import importlib.util
import os
import subprocess
import sys

import numpy as np

from common import BUILD, check, work

TOOL = os.path.join(BUILD, "tests", "make_blocks")
N_ROWS, N_COLS, CASE_COLS, N_IMPORTANCES = 800, 1024, 512, 4

# name: ggml_type, elements and bytes of a block
TYPES = {
    "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24),
    "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144),
    "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "IQ4_NL": (20, 32, 18),
    "IQ4_XS": (23, 256, 136), "MXFP4": (39, 32, 17), "NVFP4": (40, 64, 36),
}


def library():
    where = importlib.util.find_spec("libggml").submodule_search_locations[0]
    g = ctypes.CDLL(os.path.join(where, "lib64", "libggml-base.so"))
    i64, ptr = ctypes.c_int64, ctypes.c_void_p
    g.ggml_quantize_chunk.argtypes = [ctypes.c_int, ptr, ptr, i64, i64, i64, ptr]
    g.ggml_quantize_chunk.restype = ctypes.c_size_t
    g.ggml_validate_row_data.argtypes = [ctypes.c_int, ptr, ctypes.c_size_t]
    g.ggml_validate_row_data.restype = ctypes.c_bool
    return g


GGML = library()


def pointer(a):
    return None if a is None else a.ctypes.data_as(ctypes.c_void_p)


def ggml_encode(name, x, v):
    """f32 [rows, cols], importance [cols] or None -> bytes [rows, row bytes]"""
    kind, elems, size = TYPES[name]
    out = np.empty((x.shape[0], x.shape[1] // elems * size), np.uint8)
    x = np.ascontiguousarray(x)
    GGML.ggml_quantize_chunk(kind, pointer(x), pointer(out), 0, *x.shape, pointer(v))
    return out


def ggml_decode(name, blocks, n_cols):
    decode = getattr(GGML, "dequantize_row_" + name.lower().replace("_k", "_K"))
    decode.argtypes, decode.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    out = np.empty((blocks.shape[0], n_cols), np.float32)
    decode(pointer(blocks), pointer(out), out.size)
    return out


def ggml_valid(name, blocks):
    return np.array([GGML.ggml_validate_row_data(TYPES[name][0], pointer(row), row.size)
                     for row in blocks])


def ours(*args, rows=None, dtype=np.uint8):
    data = b"" if rows is None else np.ascontiguousarray(rows).tobytes()
    r = subprocess.run([TOOL, *map(str, args)], input=data, stdout=subprocess.PIPE, check=True)
    return np.frombuffer(r.stdout, dtype)


def our_encode(name, x, v):
    args = [name, x.shape[1]]
    if v is not None:
        v.tofile(work("importance"))
        args.append(work("importance"))
    return ours(*args, rows=x).reshape(x.shape[0], -1)


# ---- rows ----------------------------------------------------------------------------

def random_row(kind, n, rng):
    normal, wide = rng.standard_normal(n), np.repeat(rng.uniform(-9, 2, n // 16), 16)
    return [
        lambda: normal * 0.02,
        lambda: rng.standard_t(1.2, n),
        lambda: normal * (rng.random(n) < 0.05),
        lambda: normal * 10 ** rng.uniform(-14, -5),
        lambda: normal * 10 ** rng.uniform(4, 18),
        lambda: normal * 1e-3 + rng.choice([-1, 1]) * rng.random(),
        lambda: rng.integers(-8, 9, n) / 8,
        lambda: np.abs(normal) * rng.choice([-1, 1]),
        lambda: normal * 10 ** rng.uniform(-3, 3, n),
        lambda: np.repeat(normal[::16], 16) + (rng.random(n) < 0.1) * normal,
        lambda: normal * 10 ** wide,
        lambda: rng.choice([0, 0, 0, 1, -1, 2, -2, 0.5], n) * 2.0 ** rng.integers(-20, 20),
        lambda: rng.laplace(size=n) * 0.02 * (1 + 50 * (rng.random(n) < 0.01)),
        lambda: rng.random(n) * 10 ** rng.uniform(-46, -36),
        lambda: normal * 10 ** rng.uniform(18, 37),
        lambda: normal,
    ][kind % 16]()


def random_rows(n_rows, n_cols, rng):
    rows = np.stack([random_row(i, n_cols, rng) for i in range(n_rows)])
    return np.clip(rows, -3e38, 3e38).astype(np.float32)


def importances(n, rng):
    """None, and what an imatrix may hold: usual, of many magnitudes, with few non-zeros"""
    some = [rng.random(n) + 0.01, 10 ** rng.uniform(-6, 4, n), rng.chisquare(1, n),
            rng.random(n) * (rng.random(n) < 0.3), rng.random(n) * (rng.random(n) < 0.05),
            np.zeros(n)]
    return [None] + [v.astype(np.float32) for v in some]


def case_rows():
    """-> rows of tests/block_rows.h, their importances"""
    all_rows = ours("--cases", dtype=np.float32).reshape(-1, CASE_COLS)
    return all_rows[:-N_IMPORTANCES], [None, *all_rows[-N_IMPORTANCES:].copy()]


# ---- both --------------------------------------------------------------------------

def same_floats(a, b):
    """Equal bits, any NaN like any other"""
    return (a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))


def compare(name, rows, vectors):
    """-> rows encoded, rows that differ; what compare_reading() says of the blocks"""
    n = np.zeros(6, int)
    for v in vectors:
        theirs = ggml_encode(name, rows, v)
        n[0] += len(rows)
        n[1] += (theirs != our_encode(name, rows, v)).any(1).sum()
        n[2:] += compare_reading(name, theirs, rows.shape[1])
    return n


def compare_reading(name, blocks, n_cols):
    """-> rows decoded, rows that differ in values, in the verdict; refused rows"""
    values = ours("--decode", name, n_cols, rows=blocks, dtype=np.float32).reshape(-1, n_cols)
    same = same_floats(values, ggml_decode(name, blocks, n_cols))
    verdict = ggml_valid(name, blocks)
    other = ours("--valid", name, n_cols, rows=blocks) != verdict
    return np.array([len(blocks), (~same).any(1).sum(), other.sum(), (~verdict).sum()])


def check_type(name):
    rng = np.random.default_rng(20)
    _, elems, size = TYPES[name]
    n = compare(name, random_rows(N_ROWS, N_COLS, rng), importances(N_COLS, rng))
    n += compare(name, *case_rows())
    noise = rng.integers(0, 256, (N_ROWS, N_COLS // elems * size), np.uint8)
    n[2:] += compare_reading(name, noise, N_COLS)
    check(f"{name}: bytes equal those of ggml", n[1] == 0, f"{n[0]} rows, {n[1]} differ")
    check(f"{name}: decoded values equal those of ggml", n[3] == 0, f"{n[2]} rows, {n[3]} differ")
    # every byte is a scale of NVFP4
    check(f"{name}: refuses the rows that ggml refuses",
          n[4] == 0 and (n[5] > 0) == (name != "NVFP4"), f"{n[5]} rows, {n[4]} differ")


# ---- goldens of the unit tests ---------------------------------------------------------

def fnv1a(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def random_bytes(n):
    s, out = 0x12345678, bytearray()
    for _ in range(n):
        s = (s ^ s << 13) & 0xFFFFFFFF
        s ^= s >> 17
        s = (s ^ s << 5) & 0xFFFFFFFF
        out.append(s >> 24)
    return np.frombuffer(bytes(out), np.uint8)


def case_digest(name, row, vectors):
    data = b""
    for v in vectors:
        blocks = ggml_encode(name, row[None], v)
        data += blocks.tobytes() + bytes([int(ggml_valid(name, blocks)[0])])
    return fnv1a(data)


def decode_digest(name):
    _, elems, size = TYPES[name]
    values = ggml_decode(name, random_bytes(4096 // elems * size)[None], 4096)
    values[np.isnan(values)] = np.nan
    return fnv1a(values.tobytes())


def print_digests():
    rows, vectors = case_rows()
    for name in TYPES:
        print(f"{name}: decoded {decode_digest(name):#018x}")
        for row in rows:
            print(f"    {case_digest(name, row, vectors):#018x},")


if "--digests" in sys.argv:
    print_digests()
else:
    for type_name in ours("--types").tobytes().decode().split():
        check_type(type_name)
