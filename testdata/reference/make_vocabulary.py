"""Vocabularies in other spellings than tokenizer.tok.json, and the ids others give to texts.

usage: make_vocabulary.py LLAMA_TOKENIZE   (from the root; packages gguf 0.19, tokenizers 0.23)

Writes testdata/vocabulary/:
  grok2-tiny.gguf  the tokens of grok2-tiny as a GGUF has them (package gguf, no tensors), with
                   merges derived from the ranks here
  wide.gguf        600 tokens learnt across words, digits and signs, so that another way to cut
                   a text gives other ids; its pre-tokenizer's name is to be replaced
  pairs.json       a tokenizer.json, V1, merges as pairs, ignore_merges and a merge list that
                   does not reach every token
  text.json        a tokenizer.json of two steps (digits, GPT-2), merges as text, specials with
                   a template that puts <s> first
  golden.json      texts, and their ids: of llama-tokenize for every pre-tokenizer's name, of
                   the package tokenizers for the two others
"""
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile

from gguf import GGUFWriter
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, processors, trainers

TINY, OUT = "testdata/grok2-tiny", "testdata/vocabulary"
PRE = "grok-2", "gpt-2", "smollm", "llama-bpe", "qwen2", "default"
V1 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
      r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
POOLS = ["abcdefghij", "XYZ", "0123456789", "   ", "\n\r\t ", "'s'T're'VE'll",
         "!\"#$%()*+,-./<=>\\^`|~", "äöüßéñ", "дружба", "漢字仮名", "한국어", "😀🎉👩‍👧",
         "\u00a0\u2003\u3000\u200b\u180e\u0085",
         "٠١٢½Ⅷ²", "\u0301\u0327", "the and of in"]


def alphabet():
    same = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [b for b in range(256) if b not in same]
    return {b: chr(b) for b in same} | {b: chr(256 + i) for i, b in enumerate(moved)}


SPELL = alphabet()


def spell(data):
    return "".join(SPELL[b] for b in data)


def bpe(ranks, word, below):
    parts = [bytes([b]) for b in word]
    while True:
        pairs = [(ranks.get(parts[i] + parts[i + 1], below), i) for i in range(len(parts) - 1)]
        rank, i = min(pairs, default=(below, 0))
        if rank >= below:
            return parts
        parts[i:i + 2] = [parts[i] + parts[i + 1]]


def write_gguf(path, pre, tokens, types, merges):
    w = GGUFWriter(path, "llama")
    for key in "block_count", "context_length", "embedding_length", "feed_forward_length":
        w.add_uint32("llama." + key, 8)
    w.add_uint32("llama.attention.head_count", 1)
    w.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens)
    w.add_token_types(types)
    w.add_token_merges(merges)
    w.add_eos_token_id(2)
    w.add_pad_token_id(0)
    w.add_sep_token_id(1)
    w.add_add_bos_token(False)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def write_tiny(path):
    tok = json.load(open(f"{TINY}/tokenizer.tok.json"))
    ranks = {bytes(t["bytes"]): t["token"] for t in tok["regular_tokens"]}
    words = {t["token"]: bytes(t["bytes"]).decode() for t in tok["special_tokens"]}
    types = [3 if i in words else 1 for i in range(tok["vocab_size"])]
    words |= {i: spell(b) for b, i in ranks.items()}
    merges = []
    for word, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(word) > 1:
            left, right = bpe(ranks, word, rank)
            merges.append(spell(left) + " " + spell(right))
    write_gguf(path, "grok-2", [words[i] for i in range(len(words))], types, merges)


def learn_wide():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    r = random.Random(3)
    t.train_from_iterator([sample(r) for _ in range(4000)], trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<|pad|>", "<|separator|>", "<|eos|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(t.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return tokens, [3] * 3 + [1] * (len(tokens) - 3), [" ".join(m) for m in model["merges"]]


def train(steps, specials):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence(steps)
    t.train([f"{TINY}/golden/heldout.txt"],
            trainers.BpeTrainer(vocab_size=450, special_tokens=specials, show_progress=False,
                                initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def save(name, tree):
    with open(f"{OUT}/{name}", "w", encoding="utf-8") as f:
        json.dump(tree, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


def write_pairs():
    t = train([pre_tokenizers.Split(Regex(V1), "isolated"),
               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)], ["<|eos|>"])
    tree = json.loads(t.to_str())
    tree["model"]["merges"] = tree["model"]["merges"][:-40]
    tree["model"]["ignore_merges"] = True
    save("pairs.json", tree)


def write_text():
    t = train([pre_tokenizers.Digits(individual_digits=True),
               pre_tokenizers.ByteLevel(add_prefix_space=False)], ["<unk>", "<s>"])
    t.add_tokens([AddedToken(s, normalized=False) for s in ("hello world", "<|turn|>")])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tree = json.loads(t.to_str())
    tree["model"]["merges"] = [" ".join(pair) for pair in tree["model"]["merges"]]
    save("text.json", tree)


def sample(r):
    return "".join("".join(r.choice(p) for _ in range(r.randint(1, 5)))
                   for p in r.choices(POOLS, k=r.randint(1, 7)))


def texts():
    r = random.Random(2)
    golden = json.load(open(f"{TINY}/golden/golden.json"))["tokens"]
    out = [t["text"] for t in golden if 0 < len(t["text"]) < 200]
    out += ["say hello world<|turn|> and <s>hello  world",
            "the 1234567 ABCs' it'S we'LL  \n\n end \t"]
    return out + [sample(r) for _ in range(40)]


def llama_ids(program, model, text):
    with tempfile.NamedTemporaryFile("w", newline="", encoding="utf-8", suffix=".txt") as f:
        f.write(text)
        f.flush()
        return json.loads(subprocess.run(
            [program, "-m", model, "-f", f.name, "--ids", "--no-bos", "--no-escape",
             "--log-disable"], check=True, capture_output=True, text=True).stdout)


def main():
    os.makedirs(OUT, exist_ok=True)
    write_tiny(f"{OUT}/grok2-tiny.gguf")
    wide = learn_wide()
    write_gguf(f"{OUT}/wide.gguf", "grok-2", *wide)
    write_pairs()
    write_text()
    golden = {"texts": texts()}
    with tempfile.TemporaryDirectory() as folder:
        for pre in PRE:
            write_gguf(f"{folder}/x.gguf", pre, *wide)
            golden[pre] = [llama_ids(sys.argv[1], f"{folder}/x.gguf", t) for t in golden["texts"]]
    golden["tiny"] = [llama_ids(sys.argv[1], f"{OUT}/grok2-tiny.gguf", t) for t in golden["texts"]]
    for name in "pairs.json", "text.json":
        t = Tokenizer.from_file(f"{OUT}/{name}")
        golden[name] = [t.encode(s, add_special_tokens=False).ids for s in golden["texts"]]
    plain = json.load(open(f"{OUT}/pairs.json"))
    plain["model"]["ignore_merges"] = False
    t = Tokenizer.from_str(json.dumps(plain))
    ids = [t.encode(s, add_special_tokens=False).ids for s in golden["texts"]]
    assert ids != golden["pairs.json"]
    for a, b in itertools.combinations(PRE, 2):
        assert (golden[a] != golden[b]) == ((a, b) != ("grok-2", "qwen2")), (a, b)
    save("golden.json", golden)


if __name__ == "__main__":
    main()
