"""SentencePiece models, the GGUFs that stand for them, and the ids that others give to texts.

usage: make_sentencepiece.py LLAMA_TOKENIZE [OUT]    (from the root; packages sentencepiece 0.2.3,
                                                      gguf 0.19, tokenizers 0.23)

Writes testdata/vocabulary/ (or OUT):
  grok1.model    BPE in the manner of Grok-1's: [PAD] [BOS] [EOS] [UNK], runs of newlines, tabs and
                 blanks, digits and <|names|> as user-defined pieces, bytes, a blank before texts
  bare.model     BPE with <unk> <s> </s>, control symbols, user-defined pieces with blanks in them,
                 bytes, and no blank before texts
  unigram.model  a unigram model
  grok1.gguf, bare.gguf   their tokens as a GGUF has them (package gguf, no tensors)
  pieces_hf.json  tokenizer.json of another BPE model in the manner of Llama 2's (package
                 tokenizers)
  pieces.json    texts, their ids by the package sentencepiece and by llama-tokenize, and which
                 of them differ: names of specials that stand in a text are specials to
                 llama.cpp, which looks for the longest first wherever it stands, and puts a blank
                 before a text that follows one; of
                 pieces_hf.json the ids by the package tokenizers, also when blanks are Metaspace's
"""
import json
import os
import random
import sys

import sentencepiece
from gguf import GGUFWriter
from tokenizers import AddedToken, Tokenizer, models, normalizers

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from make_vocabulary import llama_ids, sample  # noqa: E402

TEXT = "testdata/grok2-tiny/golden/heldout.txt"
COMMON = dict(input=TEXT, normalization_rule_name="identity", remove_extra_whitespaces=False,
              byte_fallback=True, character_coverage=1.0, num_threads=1, minloglevel=2)
RUNS = (["\n" * i for i in range(1, 11)] + ["\t" * i for i in range(1, 5)]
        + ["\u2581" * i for i in range(2, 9)] + list("0123456789"))
NAMES = ["<|separator|>", "<|mask|>", "<|control1|>"]
PLAIN = ["", " ", "  ", "   ", "a", " a", "a ", "  a  ", "a  b   c", "\n", "\n\n\n", "a\nb",
         "\ta\t\tb", "\r\n", "Hello, world!",
         "In the beginning God created the heaven and the earth.", "1984 and 2001", "3.14159",
         "x y", "xx yy", "ab ba", "ab\u2581ba", "\u2581", "a\u2581b", "\u2581\u2581",
         "naïve café", "дружба народов", "漢字かな交じり文", "한국어", "😀🎉👩‍👧", "\u0000", "a\u0000b",
         "\u00a0\u2003\u3000", "<0x0A>", "[PAD570]", "UPPER lower MiXeD", "e\u0301 \u00e9",
         "\ufeffbom", "\ufffd", "\U0010ffff", "the\n\n\n\n\n\n\n\n\n\n\nend", " " * 20 + "x",
         "a" * 200, "of the " * 30]
OVER = ["<<a", "<a>>>>", ">>>>>!"]
SPECIAL = ["<<a>>>>x", "<<a>>>>>!", "<<a <a>>>>>!", "<|separator|>", "a<|separator|>b",
           "a <|separator|> b", "<|mask|><|mask|>", "[EOS]", "[PAD][BOS]x", "<s>hello</s>",
           "<unk> x", "<tool>call</tool>", "<|im|> \n<|im|>", "<|sep<|separator|>arator|>",
           "In [UNK] <|control1|>9"]


def train(out, name, **more):
    sentencepiece.SentencePieceTrainer.train(model_prefix=f"{out}/{name}", **COMMON, **more)
    os.remove(f"{out}/{name}.vocab")
    return sentencepiece.SentencePieceProcessor(model_file=f"{out}/{name}.model")


def is_defined(p, i, defined):
    return p.id_to_piece(i) in defined


def type_of(p, i, defined):
    piece = p.id_to_piece(i)
    if p.is_unknown(i):
        return 2
    if p.is_control(i):
        return 3
    if p.is_byte(i):
        return 6
    # runs are found by merging; a real blank is never found; the others are cut out
    return 4 if piece in defined and len(set(piece)) > 1 and " " not in piece else 1


def write_gguf(path, p, defined, prefix, size):
    w = GGUFWriter(path, "llama")
    for key in "block_count", "context_length", "embedding_length", "feed_forward_length":
        w.add_uint32("llama." + key, 8)
    w.add_uint32("llama.attention.head_count", 1)
    w.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    n = p.vocab_size()
    types = [type_of(p, i, defined) for i in range(n)]
    tokens = [p.id_to_piece(i) for i in range(n)]
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list([t.replace("\u2581", " ") if k == 4 else t for t, k in zip(tokens, types)]
                     + [f"[PAD{i}]" for i in range(n, size)])
    w.add_token_scores([p.get_score(i) for i in range(n)] + [-10000.0] * (size - n))
    w.add_token_types(types + [5] * (size - n))
    for add, i in ((w.add_bos_token_id, p.bos_id()), (w.add_eos_token_id, p.eos_id()),
                   (w.add_unk_token_id, p.unk_id()), (w.add_pad_token_id, p.pad_id())):
        if i >= 0:
            add(i)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)
    w.add_add_space_prefix(prefix)
    w.add_remove_extra_whitespaces(False)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    return [t for t, k in zip(tokens, types) if k in (2, 3) or (k == 4 and prefix) or t in OVER]


def to_hugging_face(out):
    p = train(out, "hf", model_type="bpe", vocab_size=420)
    vocab = {p.id_to_piece(i): i for i in range(p.vocab_size())}
    merges = []
    ids = [i for i in range(3, len(vocab)) if not p.is_byte(i)]
    for i in sorted(ids, key=lambda i: -p.get_score(i)):
        piece = p.id_to_piece(i)
        cuts = [(piece[:k], piece[k:]) for k in range(1, len(piece))]
        merges += [c for c in cuts if c[0] in vocab and c[1] in vocab]
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"),
                                         normalizers.Replace(" ", "\u2581")])
    t.add_special_tokens([AddedToken(s, normalized=False, special=True)
                          for s in ("<unk>", "<s>", "</s>")])
    t.add_tokens([AddedToken("<|im|>", normalized=False)])
    t.save(f"{out}/pieces_hf.json", pretty=False)
    os.remove(f"{out}/hf.model")
    ids = {"prepend": [t.encode(s).ids for s in PLAIN + SPECIAL]}
    t.normalizer = normalizers.Replace(" ", "\u2581")
    ids["replace"] = [t.encode(s).ids for s in PLAIN + SPECIAL]
    tree = json.loads(t.to_str())
    for scheme in "first", "always", "never":
        tree["normalizer"] = None
        tree["pre_tokenizer"] = {"type": "Metaspace", "replacement": "\u2581",
                                 "prepend_scheme": scheme, "split": False}
        u = Tokenizer.from_str(json.dumps(tree))
        ids[scheme] = [u.encode(s).ids for s in PLAIN + SPECIAL]
    return ids


def main():
    out = sys.argv[2] if len(sys.argv) > 2 else "testdata/vocabulary"
    os.makedirs(out, exist_ok=True)
    odd = ["<|im|>", "ab ba", "x\u2581y", "\u2581\u2581", "\u2581\u2581\u2581\u2581"] + OVER
    models = {
        "grok1": (train(out, "grok1", model_type="bpe", vocab_size=560, split_digits=True,
                        pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]",
                        bos_piece="[BOS]", eos_piece="[EOS]", unk_piece="[UNK]",
                        user_defined_symbols=RUNS + NAMES), RUNS + NAMES, True),
        "bare": (train(out, "bare", model_type="bpe", vocab_size=450, add_dummy_prefix=False,
                       control_symbols=["<tool>", "</tool>"], user_defined_symbols=odd), odd,
                 False)}
    train(out, "unigram", model_type="unigram", vocab_size=400)
    r = random.Random(4)
    texts = PLAIN + SPECIAL + [sample(r) for _ in range(40)]
    golden = {"texts": texts}
    for name, (p, defined, prefix) in models.items():
        names = write_gguf(f"{out}/{name}.gguf", p, defined, prefix, p.vocab_size() + 16)
        by_package = [p.encode(t) for t in texts]
        by_llama = [llama_ids(sys.argv[1], f"{out}/{name}.gguf", t) if t else [] for t in texts]
        differs = [i for i in range(len(texts)) if by_package[i] != by_llama[i]]
        for i in differs:
            print(name, repr(texts[i]), by_package[i], by_llama[i])
        golden[name] = {"sentencepiece": by_package, "llama": by_llama, "differs": differs}
        for i in differs:
            assert any(n in texts[i] for n in names), texts[i]
    golden["hf"] = to_hugging_face(out)
    with open(f"{out}/pieces.json", "w", encoding="utf-8") as f:
        json.dump(golden, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
