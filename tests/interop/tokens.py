"""The tokenizer against tiktoken: goldens, 10,000 seeded strings, every code point.

Many strings go through one process: they are joined by <|pad|>, whose id cuts the answer.
That is exact, because a special token ends the text before it and begins the text after it.
"""
import json
import os
import random
import unicodedata

import tiktoken

from common import GOLDEN, SUBJECT, TINY, check, golden, grokkit, grokkit_json, ref, work

PAD = "<|pad|>"
N_STRINGS = 10000
SEED = 20240819


def tiktoken_of(path):
    """Built from the file alone, as SGLang does it."""
    with open(path, encoding="utf-8") as f:
        j = json.load(f)
    assert j["word_split"] == "V1"
    special = {bytes(t["bytes"]).decode(): t["token"] for t in j["special_tokens"]}
    return tiktoken.Encoding(os.path.basename(os.path.dirname(path)), pat_str=ref.V1_PATTERN,
                             mergeable_ranks={bytes(t["bytes"]): t["token"] for t in j["regular_tokens"]},
                             special_tokens=special, explicit_n_vocab=j["vocab_size"]), special


# ---- texts ----------------------------------------------------------------------------------

def letters(ranges):
    return [chr(c) for a, b in ranges for c in range(a, b + 1)]


POOLS = {
    "latin": letters([(0x41, 0x5A), (0x61, 0x7A)]),
    "accents": letters([(0xC0, 0x17F), (0x180, 0x24F), (0x1E00, 0x1EFF)]),
    "marks": letters([(0x300, 0x36F), (0x483, 0x489), (0x591, 0x5BD), (0x64B, 0x65F), (0x93A, 0x94D),
                      (0x20D0, 0x20F0), (0xE31, 0xE3A), (0x1DC0, 0x1DFF)]),
    "scripts": letters([(0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x620, 0x64A), (0x904, 0x939),
                        (0xE01, 0xE30), (0x10A0, 0x10FF), (0x1200, 0x1240), (0x3041, 0x3096),
                        (0x30A1, 0x30FA), (0x4E00, 0x4E80), (0xAC00, 0xAC80), (0x10400, 0x10450),
                        (0x1D400, 0x1D454), (0x20000, 0x20040)]),
    "digits": list("0123456789") + letters([(0x660, 0x669), (0x966, 0x96F), (0xBC, 0xBE), (0x2160, 0x2188),
                                            (0x2460, 0x2473), (0xFF10, 0xFF19), (0x1D7CE, 0x1D7FF)])
              + list("\u00b2\u00b3\u00b9\u2070\u3007"),
    "blanks": list(" \t\v\f") + letters([(0x2000, 0x200A)])
              + list("\u0085\u00a0\u1680\u2028\u2029\u202f\u205f\u3000"),
    "not blanks": list("\u180e\u200b\u200c\u200d\u2060\ufeff\u00ad\x00\x1c\x1d\x1e\x1f\x7f"),
    "line ends": ["\r", "\n", "\r\n", "\n\r", "\n\n", "\r\n\r\n", " \n", "\n ", "\t\r\n", "\u2028\n"],
    "punctuation": list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + list("\u00a1\u00bf\u00ab\u00bb\u2014\u2026\u201c"
                                                                  "\u201d\u3001\u3002\uff01\u20ac\u2122\u221e"),
    "emoji": ["\U0001f600", "\U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
              "\u2764\ufe0f", "\U0001f1e9\U0001f1ea", "1\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e0062\U000e007f",
              "\U0001f9d1\u200d\U0001f680"],
    "contractions": ["'" + x for s in ("s", "t", "re", "ve", "m", "ll", "d")
                     for x in {s, s.upper(), s.title()}] + ["'\u017f", "'\u017fs", "\u2019s", "'K", "'\u212a", "''s"],
    "folding": list("\u017f\u212a\u212b\u0130\u0131\u1e9e\u00df\ufb06\ufb05\u03c2\u03c3"),
    "words": ["the", " the", "And", " God", " LORD", "heaven", " children", "'tis", "don't", " WE'RE", "unto"],
}
SPECIALS = ["<|separator|>", "<|eos|>", "<|reserved_3|>", "<|reserved_127|>", "<|reserved_12|>",
            "<|control1|>", "<|control704|>", "<|separator|", "<|eos", "<||eos|>", "<|<|eos|>|>", "|>", "<|"]
RARE = letters([(0x80, 0x24F)]) + [chr(c) for c in (0xD7FF, 0xE000, 0xFFFD, 0xFFFF, 0x10000, 0x10FFFF, 0x1F4A9)]


# Letters that a later Unicode brings are letters to whoever knows it. Both sides are compared on
# what this Python knows (3.11: Unicode 14.0, as PCRE2 10.42 does; tiktoken 0.14 has 16.0).
ASSIGNED = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
LATER = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) == "Cn"]


def one_string(r):
    kind = r.random()
    if kind < 0.03:                                        # long runs: the heap of long pieces
        return r.choice(r.choice(list(POOLS.values()))) * r.randint(50, 400)
    if kind < 0.06:
        return "".join(r.choices(POOLS["latin"], k=r.randint(90, 300)))
    if kind < 0.10:
        return "".join(r.choices(ASSIGNED, k=r.randint(1, 30)))
    out = []
    pools = r.sample(list(POOLS), r.randint(1, 6))
    for _ in range(r.randint(1, 24)):
        if r.random() < 0.06:
            out.append(r.choice(SPECIALS))
        elif r.random() < 0.03:
            out.append(r.choice(RARE))
        else:
            out += r.choices(POOLS[r.choice(pools)], k=r.choice((1, 1, 1, 2, 3, 6)))
    return "".join(out)


def strings():
    r = random.Random(SEED)
    return [s.replace(PAD, "") for s in (one_string(r) for _ in range(N_STRINGS))]


# ---- many texts, one process -----------------------------------------------------------------

def split_at(ids, pad):
    out = [[]]
    for i in ids:
        if i == pad:
            out.append([])
        else:
            out[-1].append(i)
    return out


def differing(model, texts):
    """-> texts whose ids are not tiktoken's, how many ids tiktoken gives"""
    enc, special = tiktoken_of(os.path.join(model, "tokenizer.tok.json"))
    pad = special[PAD]
    ours = grokkit("tokenize", model, input=PAD.join(texts).encode())
    ours = split_at([int(i) for i in ours.split()], pad)
    theirs = [enc.encode(s, allowed_special="all") for s in texts]
    if len(ours) != len(texts):
        return texts, 0
    return [s for s, a, b in zip(texts, ours, theirs) if a != b], sum(map(len, theirs))


def compare(what, model, texts, detail):
    wrong, n = differing(model, texts)
    check(what, not wrong, f"{len(texts) - len(wrong)} of {len(texts)} texts, {n} ids"
          + (detail(wrong) if wrong else ""))


# ---- a tokenizer that shows every cut -----------------------------------------------------------

def pairs_tokenizer(directory):
    """All 65,536 pairs of bytes are tokens, in a shuffled order: where words are cut shows in
    nearly every answer, while with a trained vocabulary most cuts fall where nothing merges."""
    r = random.Random(1)
    pairs = [bytes((a, b)) for a in range(256) for b in range(256)]
    r.shuffle(pairs)
    with open(os.path.join(TINY, "tokenizer.tok.json"), encoding="utf-8") as f:
        special = json.load(f)["special_tokens"]
    n = len(special)
    regular = [bytes((b,)) for b in range(256)] + pairs
    j = {"regular_tokens": [{"bytes": list(b), "token": n + i} for i, b in enumerate(regular)],
         "special_tokens": special, "word_split": "V1", "vocab_size": n + len(regular),
         "default_allowed_special": [t["bytes"] for t in special]}
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "tokenizer.tok.json"), "w", encoding="utf-8") as f:
        json.dump(j, f)


def every_code_point(model):
    """In aXbcX a letter joins its neighbours, a digit stands alone, others go with what follows."""
    def detail(wrong):
        return "; differ: " + " ".join(f"U+{ord(s[1]):04X}" for s in wrong[:8]) \
            + (" ..." if len(wrong) > 8 else "")
    compare(f"every code point of Unicode {unicodedata.unidata_version} is letter, digit, blank or "
            "mark as tiktoken has it", model, [f"a{c}bc{c}" for c in ASSIGNED], detail)
    texts = [f"a{c}bc{c}" for c in LATER]
    wrong = differing(model, texts)[0]
    print(f"note {SUBJECT}: {len(wrong)} of {len(texts)} code points that Unicode "
          f"{unicodedata.unidata_version} does not assign are cut otherwise{detail(wrong)}")


# ---- checks --------------------------------------------------------------------------------------

def goldens():
    g = golden()
    wrong = [t["text"] for t in g["tokens"]
             if grokkit_json("tokenize", TINY, input=t["text"].encode())["ids"] != t["ids"]]
    check("golden strings", not wrong, f"{len(g['tokens'])} strings" + "".join(map(repr, wrong[:1])))
    for name, t in g["texts"].items():
        ids = grokkit_json("tokenize", TINY, "--text", os.path.join(GOLDEN, name))["ids"]
        check(f"golden ids of {name}", ref.ids_digest(ids) == t["ids_sha256"], f"{len(ids)} ids")
    for name, text in g["prompts"].items():
        ids = grokkit_json("tokenize", TINY, input=text.encode())["ids"]
        check(f"golden ids of prompt {name}", ids == g["prompt_ids"][name], f"{len(ids)} ids")


def round_trip(model, texts):
    text = PAD.join(texts).encode()
    back = grokkit("tokenize", model, "--decode", input=grokkit("tokenize", model, input=text))
    check("decoding what was encoded gives the same bytes", back == text, f"{len(text)} bytes")


def any_ids():
    """Ids that no text gives: their bytes are written as they are."""
    r = random.Random(2)
    enc, _ = tiktoken_of(os.path.join(TINY, "tokenizer.tok.json"))
    ids = [r.randrange(1024) for _ in range(20000)]
    ours = grokkit("tokenize", TINY, "--decode", input=" ".join(map(str, ids)).encode())
    check("random ids decode to tiktoken's bytes", ours == enc.decode_bytes(ids), f"{len(ours)} bytes")


def not_utf8():
    """Refused with the place (exit 3): tiktoken takes str, in which such text cannot exist."""
    refused = 0
    bad = [b"\xff", b"\xc3", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80", b"\xf8\x88\x80\x80\x80"]
    for b in bad:
        grokkit("tokenize", TINY, input=b"abc " + b + b" x", expect=3)
        refused += 1
    check("bytes that are no UTF-8 are refused (exit 3)", refused == len(bad), f"{refused} kinds")


def main():
    texts = strings()
    assert len(set(texts)) > N_STRINGS * 9 // 10

    def detail(wrong):
        return "; e.g. " + ascii(min(wrong, key=len))[:120]
    goldens()
    compare("seeded strings: ids of tiktoken", TINY, texts, detail)
    round_trip(TINY, texts)
    pairs = work("pairs")
    pairs_tokenizer(pairs)
    compare("seeded strings, a vocabulary of all pairs of bytes: ids of tiktoken", pairs, texts, detail)
    round_trip(pairs, texts)
    every_code_point(pairs)
    any_ids()
    not_utf8()


main()
