#!/usr/bin/env python3
"""Writes blocks/edge.bin: rows of f32 and the blocks that ggml makes of them.

usage: make_ggml.py LIBGGML OUT     (needs numpy)

LIBGGML is a shared library of ggml's src/ggml-quants.c and what it calls, compiled for
x86-64 with -O2 -DNDEBUG -ffp-contract=off and no -march. The file was made with the ggml
in llama-cpp-python 0.3.36 (vendor/llama.cpp/ggml). Little-endian, rows one after the other:

    u32 n                     elements: 32, 64 or 256
    f32 x[n], importance[n]
    for Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 MXFP4 NVFP4 (NVFP4 when n is a multiple of 64):
        blocks without importance, u8 valid, blocks with it, u8 valid

Prints, for each type, the FNV-1a-64 of the f32 that ggml decodes from 1,024 blocks of
xorshift32 bytes (a NaN counts as 0x7FC00000)."""
import ctypes
import sys

import numpy as np

TYPES = {  # name: (ggml's number, elements, bytes)
    "q4_0": (2, 32, 18), "q4_1": (3, 32, 20), "q5_0": (6, 32, 22), "q5_1": (7, 32, 24),
    "q8_0": (8, 32, 34), "mxfp4": (39, 32, 17), "nvfp4": (40, 64, 36),
}


def at(array):
    return None if array is None else ctypes.c_void_p(array.ctypes.data)


def encode(ggml, name, x, importance):
    number, elems, size = TYPES[name]
    out = np.zeros(x.size // elems * size, np.uint8)
    getattr(ggml, "quantize_" + name)(at(x), at(out), ctypes.c_int64(1),
                                      ctypes.c_int64(x.size), at(importance))
    valid = ggml.ggml_validate_row_data(number, at(out), ctypes.c_size_t(out.size))
    return out.tobytes() + bytes([1 if valid else 0])


def next_to(value, ulps):
    bits = np.array([value], np.float32).view(np.uint32) + np.uint32(ulps & 0xFFFFFFFF)
    return bits.view(np.float32)[0]


def edge_rows():
    r = np.random.default_rng(20261125)
    base = r.uniform(-1, 1, 64).astype(np.float32)
    f = np.float32

    def with_one(value, where=17, scale=1.0):
        x = base * f(scale)
        x[where] = value
        return x

    yield np.zeros(64)
    yield -np.zeros(64)
    yield np.full(64, 0.25)
    yield np.full(64, -0.25)
    yield np.r_[np.zeros(32), base[:32]]
    yield np.r_[base[:32], np.zeros(32)]
    for unit in (-149, -148, -140, -133, -128, -127, -126, -125, -124, -120, -100, -80, -60, -51,
                 -50, -49, -40):
        yield base * f(2.0) ** unit  # subnormals, ggml's 1e-15, exponents that wrap
    for unit in (-30, -25, -24, -23, -20, -17, -15, -14, -13):
        yield base * f(2.0) ** unit  # a scale that is a subnormal f16, or rounds to 0
    for value in (1e4, 7e5, -6e5, 8.3e6, 1e10, -1e20, 3e38, -3.4e38):
        yield with_one(value)
    yield np.r_[with_one(3.4e38)[:32], with_one(-3.4e38)[:32]]
    yield np.where(np.arange(64) % 2 == 0, 3.4e38, -3.4e38)  # a spread past f32
    for power in (-9, -3, 0, 5):
        for ulps in (-2, -1, 0, 1, 2):
            for sign in (1, -1):
                yield with_one(f(sign) * next_to(2.0 ** power, ulps), scale=2.0 ** power * 0.99)
    for half in (1, 8, 16, 127):  # every element on a tie of some type
        yield (np.arange(64) - 32 + 0.5) * half / 32.0
        yield np.clip((np.arange(64) - 32) * 0.5, -half, half) / f(half)
    for levels in (15, 31, 127):
        x = np.clip(np.arange(64) * 0.5, 0, levels)
        x[63] = levels
        yield x
        yield -x
    for signs in ([1, -1], [-1, 1]):  # equal maxima of both signs
        x = base * f(0.9)
        x[[5, 9, 37, 40]] = signs * 2
        yield x
    yield np.abs(base)
    yield -np.abs(base)
    yield 5 + base * f(1e-6)
    yield (base.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    for s in (65504, 65519.99, 65520):  # d at f16's end
        yield base / np.abs(base[:32]).max() * f(s * 127)
        yield base / np.abs(base[:32]).max() * f(s * 8)
    for s in (2.0 ** -6, 0.0624, 256 / 1.0, 248.0, 247.9, 447.0, 449.0, 2.0 ** -10, 2.0 ** -11,
              0.0146, 0.0152, 1.0625, 1.1875):  # UE4M3's ends and ties
        x = base / np.abs(base).max() * f(s * 6)
        x[::16] = f(s * 6)
        yield x
    for code in (0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0):  # E2M1's ties
        x = np.full(64, f(code))
        x[::2] *= -1
        x[::16] = 6
        x[1::16] = next_to(code, 1)
        x[2::16] = -next_to(code, -1)
        yield x
    for x in (base[:32], -base[32:], base[:32] * f(1e-4)):
        yield x  # one block
    for spread in (0.5, 3.0, 9.0):
        x = r.standard_normal(256)
        yield x * np.exp(r.normal(0, spread, 256))
        yield np.round(x * spread) / 4


def importances(r, row, n):
    w = (r.random(n) ** 4 * 10.0 ** r.integers(-6, 4)).astype(np.float32)
    if row % 7 == 3:
        w[r.random(n) < 0.5] = 0
    if row % 29 == 5:
        w[:] = 0
    return w


def decoded_digest(ggml, name):
    _, elems, size = TYPES[name]
    s, raw = 0x12345678, bytearray()
    while len(raw) < 1024 * size:
        s ^= s << 13 & 0xFFFFFFFF
        s ^= s >> 17
        s ^= s << 5 & 0xFFFFFFFF
        raw.append(s >> 24)
    block = np.frombuffer(bytes(raw), np.uint8)
    out = np.zeros(1024 * elems, np.float32)
    getattr(ggml, "dequantize_row_" + name)(at(block), at(out), ctypes.c_int64(out.size))
    bits = np.where(np.isnan(out), np.uint32(0x7FC00000), out.view(np.uint32))
    h = 0xCBF29CE484222325
    for byte in bits.astype("<u4").tobytes():
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def main(lib, path):
    ggml = ctypes.CDLL(lib)
    ggml.ggml_validate_row_data.restype = ctypes.c_bool
    r = np.random.default_rng(7)
    n_rows = 0
    with open(path, "wb") as out:
        for row, values in enumerate(edge_rows()):
            x = np.ascontiguousarray(values, np.float32)
            assert np.isfinite(x).all()
            w = importances(r, row, x.size)
            out.write(np.uint32(x.size).tobytes() + x.tobytes() + w.tobytes())
            for name, (_, elems, _) in TYPES.items():
                if x.size % elems == 0:
                    out.write(encode(ggml, name, x, None) + encode(ggml, name, x, w))
            n_rows += 1
    for name in TYPES:
        print(f"{name:6} {decoded_digest(ggml, name):016x}")
    print(n_rows, "rows", file=sys.stderr)


main(*sys.argv[1:])
