#!/usr/bin/env python3
"""What llama.cpp's converter makes of testdata/families: converted.txt beside this script.

    make_converted.py LLAMA_CPP > converted.txt

LLAMA_CPP holds the sources (package conversion, gguf-py) of llama-cpp-python 0.3.36; torch was
2.11.0. Two kinds of lines:

    tensor MODEL NAME SHA256                              of --outtype f32, without a vocabulary
    factors BASE DIM FACTOR LOW HIGH CONTEXT WORD...      float32 bits of rope_freqs.weight
"""
import hashlib
import os
import pathlib
import sys
import tempfile

sys.path[:0] = [sys.argv[1], os.path.join(sys.argv[1], "gguf-py")]
import gguf  # noqa: E402
import torch  # noqa: E402
from conversion.llama import LlamaModel  # noqa: E402
from conversion.qwen import Qwen2Model  # noqa: E402

FAMILIES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "families")
MODELS = {"llama": LlamaModel, "llama-tied": LlamaModel, "mistral": LlamaModel, "qwen2": Qwen2Model}
# Llama 3.1 8B and 70B, 3.2 1B, 3.2 3B; then others
FACTORS = [(500000.0, 128, 8.0, 1.0, 4.0, 8192), (500000.0, 64, 32.0, 1.0, 4.0, 8192),
           (500000.0, 128, 32.0, 1.0, 4.0, 8192), (10000.0, 64, 2.5, 1.0, 2.0, 4096),
           (500.0, 16, 8.0, 1.0, 4.0, 64), (1000000.0, 96, 4.0, 1.0, 8.0, 32768)]


class Bare:
    """As much of a converter as generate_extra_tensors() looks at."""

    def __init__(self, base, dim, factor, low, high, context):
        self.hparams = {"head_dim": dim}
        self.rope_parameters = {"rope_type": "llama3", "rope_theta": base, "factor": factor, "low_freq_factor": low,
                                "high_freq_factor": high, "original_max_position_embeddings": context}

    def format_tensor_name(self, key):
        return str(key)


def main():
    for model, cls in MODELS.items():
        cls.set_vocab = lambda self: self._set_vocab_none()
        with tempfile.TemporaryDirectory() as t, torch.inference_mode():
            out = pathlib.Path(t) / "out.gguf"
            cls(pathlib.Path(FAMILIES) / model, gguf.LlamaFileType.ALL_F32, out).write()
            for tensor in gguf.GGUFReader(out).tensors:
                assert tensor.tensor_type.name == "F32"
                print("tensor", model, tensor.name, hashlib.sha256(tensor.data.tobytes()).hexdigest())
    for numbers in FACTORS:
        (_, tensor), = LlamaModel.generate_extra_tensors(Bare(*numbers))
        print("factors", *numbers, *(f"{w:08x}" for w in tensor.numpy().view("<u4").tolist()))


main()
