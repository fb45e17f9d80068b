"""Llama and Qwen2 in llama.cpp's tools and in transformers, by hand:

    LLAMA=FOLDER build/venv-full/bin/python tests/interop/families.py build/release

FOLDER is where llama.cpp was built (bin/llama-perplexity); without it only transformers is
asked. Flash attention is off, for it rounds to f16 on a CPU (1e-4 here). Seeded random models
with the tokens of grok2-tiny; windows are four times as long as the context that the llama3
scaling starts from.
"""
import json
import os
import re
import shutil
import subprocess

import numpy as np
import torch
import transformers

from common import HELDOUT, TINY, check, grokkit, grokkit_json, ref, work
from make_families import random_tensors

CTX = 256
PPL_TOL = 2e-5  # relative, nothing but F32 on both sides
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 64}
SIZES = {"hidden_act": "silu", "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 2,
         "vocab_size": 1024, "num_attention_heads": 6, "num_key_value_heads": 2, "rope_theta": 500.0,
         "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16"}
MODELS = {
    "llama3": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": False,
               "rope_scaling": LLAMA3},
    "llama3-bias": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": True,
                    "attention_bias": True, "rope_scaling": LLAMA3},
    "llama-bias": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "tie_word_embeddings": True,
                   "attention_bias": True},
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "tie_word_embeddings": True,
              "num_key_value_heads": 3},
}


def make(name, config, seed):
    """-> the folder of a model"""
    out = work(name)
    os.makedirs(out)
    ref.write_safetensors(os.path.join(out, "model.safetensors"), random_tensors(config, seed))
    with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)
    shutil.copy(os.path.join(TINY, "tokenizer.tok.json"), out)
    return out


def llama_perplexity(model, windows):
    for _ in range(5):  # its log is written by a thread whose last lines can be lost at exit
        r = subprocess.run([os.path.join(os.environ["LLAMA"], "bin", "llama-perplexity"), "-m", model, "-f", HELDOUT,
                            "-c", str(CTX), "-ctk", "f32", "-ctv", "f32", "-fa", "off",
                            "-t", "2", "--chunks", str(windows)],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        found = re.search(r"Final estimate: PPL = ([0-9.]+)", r.stdout.decode(errors="replace"))
        if found:
            return float(found.group(1))
    return float("nan")


def torch_perplexity(directory, windows):
    """The same protocol: windows that each begin with the first token, their second halves scored."""
    with open(HELDOUT, "rb") as f:
        ids = grokkit_json("tokenize", TINY, input=f.read())["ids"]
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    nll = []
    for w in range(windows):
        window = torch.tensor([ids[w * CTX:(w + 1) * CTX]])
        with torch.no_grad():
            lp = torch.log_softmax(model(window).logits[0].double(), -1)
        nll += [-lp[t, window[0, t + 1]].item() for t in range(CTX // 2, CTX - 1)]
    return float(np.exp(np.mean(nll)))


def perplexities(name, directory, gguf, windows=20):
    ours = grokkit_json("eval", directory, "--text", HELDOUT, "--ctx", CTX, "--windows", windows)["ppl"]
    back = grokkit_json("eval", gguf, "--text", HELDOUT, "--ctx", CTX, "--windows", windows)["ppl"]
    check(f"{name}: eval of the GGUF is eval of the directory", abs(back / ours - 1) <= 1e-5,
          f"{back:.6f}, {ours:.6f}")
    theirs = torch_perplexity(directory, windows)
    check(f"{name}: perplexity of transformers", abs(theirs / ours - 1) <= PPL_TOL,
          f"{theirs:.6f}, eval {ours:.6f}, relative {abs(theirs / ours - 1):.1e}")
    if "LLAMA" in os.environ:
        theirs = llama_perplexity(gguf, windows)
        check(f"{name}: perplexity of llama.cpp", abs(theirs / back - 1) <= PPL_TOL,
              f"{theirs:.4f}, eval {back:.4f}, relative {abs(theirs / back - 1):.1e}")


def main():
    for seed, (name, more) in enumerate(MODELS.items()):
        config = SIZES | more
        directory, out = make(name, config, seed), work(name + ".gguf")
        grokkit("convert", directory, out, "--dtype", "f32", "-q")
        perplexities(name, directory, out)
        grokkit("convert", out, work(name + "-back"), "--to", "hf", "--dtype", "bf16", "-q")
        with open(os.path.join(work(name + "-back"), "config.json"), encoding="utf-8") as f:
            scaling = json.load(f).get("rope_scaling")
        check(f"{name}: its scaling comes back", scaling == config.get("rope_scaling"), scaling)


main()
