"""Our GGUF files in llama.cpp's own tools, by hand:

    LLAMA=FOLDER build/venv/bin/python tests/interop/llamacpp.py build/release

FOLDER is where llama.cpp was built with static libraries (bin/, src/libllama.a, CMakeCache.txt).
Without LLAMA it is build/llama/build, made once: half an hour of compiling. The sources come as
part of the source package llama-cpp-python on PyPI, which is pinned.
"""
import json
import os
import re
import subprocess
import sys
import tarfile

import gguf
import numpy as np

from common import GOLDEN, HELDOUT, HERE, ROOT, TINY, check, golden, grokkit, grokkit_json, largest, logits, \
    sha256, work, write_ids

PACKAGE = "llama-cpp-python==0.3.36"
TOOLS = ["llama-perplexity", "llama-quantize", "llama-tokenize", "llama-gguf-split"]
MODELS = {"grok2-tiny": TINY, "odd": "build/models/odd", "eight": "build/models/eight"}
MIXES = ("Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q2_K_S Q3_K_S Q3_K_M Q3_K_L Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K "
         "IQ4_NL IQ4_XS MXFP4_MOE").split()
PPL_TOL = 2e-5      # relative, nothing but F32 on both sides
LOGITS_TOL = 1.5e-3  # ggml's CPU looks GELU up in a table of f16
BLOCKS_TOL = 0.002  # relative, of perplexity: llama.cpp rounds inputs to 8 bits before it multiplies


# ---- the tools ------------------------------------------------------------------------------

def build(folder):
    """-> the build folder, after fetching and compiling what is missing"""
    out = os.path.join(folder, "build")
    if all(os.access(os.path.join(out, "bin", t), os.X_OK) for t in TOOLS):
        return out
    os.makedirs(folder, exist_ok=True)
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:",
                    "-d", folder, PACKAGE], check=True)
    name = PACKAGE.replace("-", "_").replace("==", "-")
    with tarfile.open(os.path.join(folder, name + ".tar.gz")) as t:
        t.extractall(folder, filter="data")
    subprocess.run(["cmake", "-S", os.path.join(folder, name, "vendor", "llama.cpp"), "-B", out,
                    "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_BUILD_TESTS=OFF",
                    "-DLLAMA_BUILD_SERVER=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF"], check=True)
    subprocess.run(["cmake", "--build", out, "--target", *TOOLS], check=True)
    return out


LLAMA = os.environ.get("LLAMA") or build(os.path.join("build", "llama"))


def tool(name, *args, expect=0):
    """-> output and talk as text; None when the exit status is another"""
    r = subprocess.run([os.path.join(LLAMA, "bin", name), *map(str, args)], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT)
    text = r.stdout.decode(errors="replace")
    if r.returncode != expect:
        print(text[-2000:], file=sys.stderr)
        return None
    return text


def logits_program():
    with open(os.path.join(LLAMA, "CMakeCache.txt"), encoding="utf-8") as f:
        source = re.search(r"CMAKE_HOME_DIRECTORY:INTERNAL=(.*)", f.read()).group(1)
    out = work("llama_logits")
    libraries = ["src/libllama.a", "ggml/src/libggml.a", "ggml/src/libggml-cpu.a", "ggml/src/libggml-base.a"]
    subprocess.run([os.environ.get("CXX", "c++"), "-std=c++17", "-O1", f"-I{source}/include",
                    f"-I{source}/ggml/include", os.path.join(HERE, "llama_logits.cpp"),
                    *(os.path.join(LLAMA, lib) for lib in libraries), "-fopenmp", "-ldl", "-lpthread",
                    "-o", out], check=True)
    return out


# ---- the forward pass -----------------------------------------------------------------------

def perplexity(model, text, windows=None):
    for _ in range(5):  # its log is written by a thread whose last lines can be lost at exit
        talk = tool("llama-perplexity", "-m", model, "-f", text, "-c", 256, "-ctk", "f32", "-ctv", "f32",
                    "-t", 2, *(("--chunks", windows) if windows else ()))
        found = re.search(r"Final estimate: PPL = ([0-9.]+)", talk or "")
        if talk is None or found:
            break
    return float(found.group(1)) if found else float("nan")


def compare_perplexity(what, model, text, tolerance, windows=None):
    theirs = perplexity(model, text, windows)
    ours = grokkit_json("eval", model, "--text", text, "--ctx", 256, "--preset", "llama.cpp",
                        *(("--windows", windows) if windows else ()))["ppl"]
    d = abs(theirs / ours - 1)
    check(f"perplexity of {what}", d <= tolerance, f"llama.cpp {theirs:.4f}, eval {ours:.4f}, relative {d:.1e}")


def forward(plain, yarn):
    for name in ("heldout", "second"):
        compare_perplexity(f"F32, {name}", plain, os.path.join(GOLDEN, name + ".txt"), PPL_TOL)
    compare_perplexity("F32, yarn, heldout", yarn, HELDOUT, PPL_TOL)
    program = logits_program()
    for prompt, ids in golden()["prompt_ids"].items():
        file = write_ids(f"{prompt}.ids", ids)
        for what, model in (("plain rope", plain), ("yarn", yarn)):
            out = work("theirs.npy")
            subprocess.run([program, model, file, out], check=True)
            d = largest(logits(model, file, "--preset", "llama.cpp"), np.load(out).astype(np.float64))
            check(f"logits of prompt {prompt}, {what}", d <= LOGITS_TOL, f"{len(ids)} tokens, largest {d:.1e}")


def types():
    """Files of other types load and give nearly what eval gives of the same file."""
    out = work("bf16.gguf")
    grokkit("convert", TINY, out, "--dtype", "bf16", "-q")
    compare_perplexity("BF16", out, HELDOUT, BLOCKS_TOL, 20)
    for mix in ("Q8_0", "Q4_K_M", "Q4_0", "MXFP4_MOE", "IQ4_XS", "Q2_K"):
        out = work(f"{mix}.gguf")
        grokkit("quantize", TINY, out, "--scheme", mix, "-q")
        compare_perplexity(mix, out, HELDOUT, BLOCKS_TOL, 20)
    grokkit("quantize", TINY, work("set.gguf"), "--scheme", "Q4_K_M", "--max-shard-size", "1500000", "-q")
    parts = sorted(n for n in os.listdir(work("")) if n.startswith("set-"))
    whole, again = perplexity(work("Q4_K_M.gguf"), HELDOUT, 20), perplexity(work(parts[0]), HELDOUT, 20)
    check(f"a set of {len(parts)} is the single file", whole == again, f"{again:.4f}")
    tool("llama-gguf-split", "--merge", work(parts[0]), work("merged.gguf"))
    check("llama-gguf-split merges it", tensors(work("merged.gguf")) == tensors(work("Q4_K_M.gguf")))
    tool("llama-gguf-split", "--split", "--split-max-tensors", 10, work("Q4_K_M.gguf"), work("theirs"))
    first = next(n for n in sorted(os.listdir(work(""))) if n.startswith("theirs-00001"))
    grokkit("convert", work(first), work("joined.gguf"), "-q")
    check(f"a set of its own is read ({first})", tensors(work("joined.gguf")) == tensors(work("Q4_K_M.gguf")))


# ---- tokens ---------------------------------------------------------------------------------

def tokens(model):
    with open(os.path.join(ROOT, "testdata", "vocabulary", "golden.json"), encoding="utf-8") as f:
        texts = json.load(f)["texts"]
    equal = 0
    for text in texts:
        with open(work("text.txt"), "w", newline="", encoding="utf-8") as f:
            f.write(text)
        r = subprocess.run([os.path.join(LLAMA, "bin", "llama-tokenize"), "-m", model, "-f", work("text.txt"), "--ids",
                            "--no-escape", "--log-disable"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        ours = grokkit_json("tokenize", TINY, input=text.encode())["ids"]
        equal += r.returncode == 0 and json.loads(r.stdout) == ours
    check("llama-tokenize on our file gives the ids of the release", equal == len(texts) > 0,
          f"{equal} of {len(texts)} texts")


# ---- llama-quantize -------------------------------------------------------------------------

def tensors(path):
    return {t.name: (t.tensor_type.name, t.shape.tolist(), sha256(t.data.tobytes()))
            for t in gguf.GGUFReader(path).tensors}


def keys(path):
    return {k: (f.types, f.contents()) for k, f in gguf.GGUFReader(path).fields.items() if not k.startswith("GGUF.")}


def quantized(name, directory):
    source, theirs, ours = work("in.gguf"), work("theirs.gguf"), work("ours.gguf")
    grokkit("convert", directory, source, "--dtype", "bf16", "--force", "-q")
    for mix in MIXES:
        if tool("llama-quantize", source, theirs, mix) is None and mix == "Q2_K_S":
            continue  # both want an importance matrix for this one: tests/test_gguf_write.c
        grokkit("quantize", directory, ours, "--scheme", mix, "--force", "-q")
        a, b = tensors(theirs), tensors(ours)
        equal = sum(a[n] == b.get(n) for n in a)
        check(f"{name} {mix}: bytes are llama-quantize's", equal == len(a) == len(b) and keys(theirs) == keys(ours),
              f"{equal} of {len(a)} tensors, and the keys")


def main():
    plain, yarn = work("f32.gguf"), work("yarn.gguf")
    grokkit("convert", TINY, plain, "--dtype", "f32", "-q")
    grokkit("convert", TINY, yarn, "--dtype", "f32", "--gguf-rope", "yarn", "-q")
    forward(plain, yarn)
    types()
    tokens(plain)
    for name, directory in MODELS.items():
        quantized(name, directory)


main()
