#!/usr/bin/env python3
"""Writes small pickles of arrays by numpy 1, numpy 2 or JAX, whichever runs it.

    venv-numpy1/bin/python make_pickles.py numpy1 .     # numpy 1.26.4, ml_dtypes 0.4.1
    venv-numpy2/bin/python make_pickles.py numpy2 .     # numpy 2.4.6
    venv-jax/bin/python    make_pickles.py jax .        # jax 0.10.2

and appends to golden.txt a line "FILE DTYPE SHAPE SHA256" for each: SHAPE is 2x3 or -
for none, SHA256 is of the values row-major, little-endian.
"""
import hashlib
import os
import pickle
import sys

import numpy as np

NAMES = {"float32": "F32", "float16": "F16", "float64": "F64", "bfloat16": "BF16", "uint8": "U8",
         "int8": "I8", "int64": "I64", "bool": "BOOL", "float8_e4m3fn": "F8_E4M3",
         "float8_e5m2": "F8_E5M2"}


def main():
    kind, out = sys.argv[1:]
    rng = np.random.default_rng(1)
    f32 = rng.standard_normal((3, 5)).astype(np.float32)
    u8 = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    items = []
    if kind == "numpy1":
        import ml_dtypes
        for p in (3, 4, 5):
            items += [("f32", f32, p), ("f32_f", np.asfortranarray(f32), p),
                      ("u8_f", np.asfortranarray(u8), p),
                      ("bf16", f32.astype(ml_dtypes.bfloat16), p)]
        items += [("ascii", u8, 2), ("f32", f32, 2),   # protocol 2 holds bytes as text
                  ("f16", f32.astype(np.float16), 4), ("f64", f32.astype(np.float64), 4),
                  ("i64", np.array([-1, 2**40], dtype=np.int64), 4),
                  ("bool", f32 > 0, 4), ("slice", f32[:, 1::2], 4),
                  ("zero_dim", np.array(3.5, dtype=np.float32), 4),
                  ("scalar", np.float32(2.5), 4), ("empty", np.zeros((0, 3), np.float32), 4),
                  ("e4m3", f32.astype(ml_dtypes.float8_e4m3fn), 4),
                  ("e5m2", f32.astype(ml_dtypes.float8_e5m2), 4)]
    elif kind == "numpy2":
        for p in (3, 4, 5):
            items += [("f32", f32, p), ("f32_f", np.asfortranarray(f32), p)]
        items += [("scalar", np.float32(2.5), 4)]
    else:
        import jax.numpy as jnp
        for p in (4, 5):
            items += [("f32", jnp.asarray(f32), p),
                      ("bf16", jnp.asarray(f32).astype(jnp.bfloat16), p)]
    with open(os.path.join(out, "golden.txt"), "a", encoding="utf-8") as golden:
        for name, x, protocol in items:
            file = f"{kind}_{name}_p{protocol}.pkl"
            with open(os.path.join(out, file), "wb") as f:
                pickle.dump(x, f, protocol=protocol)
            a = np.asarray(x)
            shape = "x".join(map(str, a.shape)) or "-"
            digest = hashlib.sha256(a.tobytes()).hexdigest()   # tobytes() is row-major
            golden.write(f"{file} {NAMES[a.dtype.name]} {shape} {digest}\n")


if __name__ == "__main__":
    main()
