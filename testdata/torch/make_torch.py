#!/usr/bin/env python3
"""Writes small files with torch.save (torch 2.11.0), and golden.txt.

    venv/bin/python make_torch.py .

A line of golden.txt is "FILE TENSOR DTYPE SHAPE SHA256"; FILE may be a directory; SHAPE is
2x3 or - for none; SHA256 is of the values row-major, little-endian.
"""
import argparse
import collections
import hashlib
import json
import os
import sys

import numpy
import torch

NAMES = {torch.float32: "F32", torch.float16: "F16", torch.float64: "F64", torch.bfloat16: "BF16",
         torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8",
         torch.uint8: "U8", torch.bool: "BOOL", torch.uint16: "U16", torch.float8_e4m3fn: "F8_E4M3",
         torch.float8_e5m2: "F8_E5M2"}


def main():
    out = sys.argv[1]
    torch.manual_seed(1)
    base = torch.randn(4, 6, 8)
    flat = torch.randn(60)
    views = {
        "contiguous": base,
        "transposed": torch.randn(5, 7).t(),
        "rows": torch.randn(6, 9)[1:5, 2:7],
        "every_other_column": torch.randn(4, 10)[:, 1::2],
        "every_other_row": torch.randn(8, 3)[::2],
        "permuted": base.permute(2, 0, 1),
        "swapped": base.transpose(0, 1),
        "vector_step": flat[3:40:5],
        "expanded_row": torch.randn(1, 5).expand(3, 5),
        "expanded_column": torch.randn(3, 1).expand(3, 4),
        "shared.a": flat[:12].view(3, 4),
        "shared.b": flat[6:18].view(4, 3).t(),
        "zero_dim": torch.tensor(3.5),
        "zero_dim_view": flat[7],
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
    }
    types = {"t." + NAMES[d]: (torch.randn(3, 4) * 4).to(d) for d in NAMES}
    types["t.F8_turned"] = (torch.randn(3, 4)).to(torch.float8_e4m3fn).t()
    wrapped = {"epoch": 3, "state_dict": {"layer.weight": torch.randn(2, 3), "layer.bias": torch.randn(2)},
               "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}}
    nested = {"model": {"embed": {"weight": torch.randn(3, 2)}}, "step": 7, "note": "text", "steps": [1, 2]}
    shards = [{"model.a.weight": torch.randn(4, 4), "model.b.weight": torch.randn(3, 5).t()},
              {"model.norm.weight": torch.randn(4).to(torch.bfloat16)}]
    golden = []

    def add(file, tensors):
        for name, t in tensors.items():
            x = t.detach().contiguous().reshape(-1)
            data = x.view(torch.uint8).numpy().tobytes() if x.numel() else b""
            shape = "x".join(map(str, t.shape)) or "-"
            golden.append(f"{file} {name} {NAMES[t.dtype]} {shape} {hashlib.sha256(data).hexdigest()}")

    def save(x, file):
        torch.save(x, os.path.join(out, file))

    save(views, "views.pt")
    add("views.pt", views)
    save(types, "types.pth")
    add("types.pth", types)
    save(wrapped, "wrapped.pt")
    add("wrapped.pt", wrapped["state_dict"])
    save(nested, "nested.pt")
    add("nested.pt", {"model.embed.weight": nested["model"]["embed"]["weight"]})
    lone = torch.randn(3, 3)
    save(lone, "lone.pt")
    add("lone.pt", {"lone": lone})
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2)).state_dict()
    save(module, "module.bin")
    add("module.bin", module)
    torch.save(shards[0], os.path.join(out, "old.pt"), _use_new_zipfile_serialization=False)
    os.makedirs(os.path.join(out, "sharded"), exist_ok=True)
    index = {"metadata": {"total_size": 0}, "weight_map": {}}
    for i, shard in enumerate(shards):
        file = f"pytorch_model-{i + 1:05d}-of-00002.bin"
        save(shard, os.path.join("sharded", file))
        add("sharded", shard)
        index["weight_map"].update({name: file for name in shard})
    with open(os.path.join(out, "sharded", "pytorch_model.bin.index.json"), "w") as f:
        json.dump(index, f, indent=1)
        f.write("\n")
    # what training programs put beside the weights, without any in it; and a holder of some
    model = {"embed": torch.randn(2, 3)}
    save({"model": model, "args": argparse.Namespace(lr=0.1, dims=[1, 2]), "best": numpy.float64(0.5),
          "device": torch.device("cpu"), "seen": {1, 2}, "counts": collections.Counter("abca")}, "beside.pt")
    add("beside.pt", {"model.embed": model["embed"]})
    save({"model": model, "holder": argparse.Namespace(w=[torch.ones(2)])}, "holder.pt")
    save({"model": model, "history": numpy.arange(6.0)}, "history.pt")
    # lists and tuples of tensors, named by their place as in torch.nn.ParameterList
    t = [torch.randn(2, 3), torch.randn(4), torch.randn(3, 5), torch.randn(2, 2)]
    save({"a": [t[0], t[1]], "b": ({"c": t[2].t()}, [5, torch.nn.Parameter(t[3])]), "n": [1, 2.5, "x"], "e": [],
          "o": [argparse.Namespace(lr=0.1)]}, "listed.pt")
    add("listed.pt", {"a.0": t[0], "a.1": t[1], "b.0.c": t[2].t(), "b.1.1": t[3]})
    save([t[0], (t[1], {"w": t[2]})], "list.pt")
    add("list.pt", {"0": t[0], "1.0": t[1], "1.1.w": t[2]})
    with open(os.path.join(out, "golden.txt"), "w") as f:
        f.write("\n".join(golden) + "\n")


if __name__ == "__main__":
    main()
