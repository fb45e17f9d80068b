"""A vocabulary of the release's size, 131,072 tokens, in a model that is small elsewhere.

Its GGUF is read with the gguf package; each merge is what tiktoken's own slow BPE makes of the
token with lower ranks alone; and texts made of the tokens get tiktoken's ids.
"""
import json
import os
import random
import shutil
import subprocess

import gguf
import tiktoken
from tiktoken._educational import bpe_encode

from common import BUILD, HELDOUT, check, grokkit, grokkit_json, ref, work

RELEASE = os.path.join("build", "models", "release", "tokenizer.tok.json")
N = 131072
SMALL = ("hidden=64 heads=4 kv_heads=2 head_dim=16 dense=96 moe=64 experts=2 top_k=1 layers=1 "
         f"ranks=2 vocab={N}").split()


def spelled():
    """GPT-2's letter for each byte (openai/gpt-2 src/encoder.py)."""
    same = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in same]
    return {**{b: chr(b) for b in same}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def strings(reader, key):
    field = reader.fields[key]
    return [bytes(field.parts[i]).decode() for i in field.data]


def merges_of(ranks, letter):
    known, token_of, out = {}, {}, []
    for token, rank in sorted(ranks.items(), key=lambda t: t[1]):
        if len(token) > 1:
            parts = [token_of[i] for i in bpe_encode(known, token, visualise=None)]
            out.append(" ".join("".join(letter[b] for b in p) for p in parts))
        known[token] = rank
        token_of[rank] = token
    return out


def texts(ranks):
    r = random.Random(5)
    words = [t.decode() for t in ranks if is_text(t)]
    some = "".join(r.choices(words, k=20000))
    with open(HELDOUT, encoding="utf-8") as f:
        return {"tokens drawn at random": some, "words apart": " ".join(r.choices(words, k=20000)),
                "a text": f.read()}


def is_text(token):
    try:
        return bool(token.decode())
    except UnicodeDecodeError:
        return False


def main():
    if not os.path.exists(RELEASE):
        print("note release: left out, files have no holes here")
        return
    with open(RELEASE, encoding="utf-8") as f:
        j = json.load(f)
    ranks = {bytes(t["bytes"]): t["token"] for t in j["regular_tokens"]}
    special = {bytes(t["bytes"]).decode(): t["token"] for t in j["special_tokens"]}
    check("the release's vocabulary", len(ranks) + len(special) == N == j["vocab_size"],
          f"{len(ranks)} tokens, {len(special)} special ones")
    model, out, letter = work("model"), work("model.gguf"), spelled()
    subprocess.run([os.path.join(BUILD, "tests", "make_model"), model, *SMALL], check=True)
    shutil.copy(RELEASE, model)
    grokkit("quantize", model, out, "--scheme", "Q8_0", "-q")
    reader = gguf.GGUFReader(out)
    want = {i: name for name, i in special.items()}
    want.update({i: "".join(letter[b] for b in t) for t, i in ranks.items()})
    check("tokens of the GGUF", strings(reader, "tokenizer.ggml.tokens") == [want[i] for i in range(N)],
          f"{N} tokens")
    types = reader.fields["tokenizer.ggml.token_type"]
    check("their types", [int(types.parts[i][0]) for i in types.data]
          == [3 if i < len(special) else 1 for i in range(N)])
    merges = merges_of(ranks, letter)
    check("merges of the GGUF are those of tiktoken's BPE", strings(reader, "tokenizer.ggml.merges") == merges
          and all(m.count(" ") == 1 for m in merges), f"{len(merges)} merges")
    enc = tiktoken.Encoding("release", pat_str=ref.V1_PATTERN, mergeable_ranks=ranks,
                            special_tokens=special, explicit_n_vocab=N)
    for name, text in texts(ranks).items():
        ids = enc.encode(text, allowed_special="all")
        for kind, path in (("tok.json", model), ("GGUF", out)):
            ours = grokkit_json("tokenize", path, input=text.encode())["ids"]
            check(f"ids by {kind}: {name}", ours == ids, f"{len(ids)} ids")


main()
