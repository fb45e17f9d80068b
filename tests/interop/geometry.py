"""Seeded models of other geometries (tests/models.sh), with the float64 reference run live."""
import os

import numpy as np

from common import check, decoded, grokkit, grokkit_json, joined, largest, logits, ref, sha256, unpack, \
    work, write_ids

MODELS = os.path.join("build", "models")
LOGITS_TOL = 5e-4
PPL_TOL = 2e-5          # relative: random weights, logits 1e-4 off, few positions
TEXT = ("In the days when the judges ruled there was a famine in the land, and 1 man of Bethlehem "
        "went to sojourn in the country of Moab; he, his wife & his two sons.\n\tUnd Gott sprach: "
        "\u00c9s werde Licht! \u4f60\u597d <|separator|>\n\n") * 6


def reference(directory, raw):
    return ref.Model(config=ref.load_config(directory), weights={n: ref.to_f64(*v) for n, v in raw.items()})


def tokens_of(directory, n):
    """Ids of TEXT by grokkit, after the reference's tokenizer gave the same."""
    ids = grokkit_json("tokenize", directory, input=TEXT.encode())["ids"]
    want = ref.Tokenizer(os.path.join(directory, "tokenizer.tok.json")).encode(TEXT)
    return ids[:n] if ids == want and len(ids) >= n else None


def copy_and_logits(name, n=96):
    """-> release directory, its reference model, ids; the copy's bytes and the logits are checked"""
    directory, out = os.path.join(MODELS, name), work(name)
    raw = joined(directory)
    grokkit("convert", directory, out, "--to", "hf", "-q")
    got = ref.load_raw(out)
    equal = sum(n in got and got[n][0] == t and got[n][1].shape == a.shape and got[n][1].tobytes()
                == np.ascontiguousarray(a).tobytes() for n, (t, a) in raw.items())
    check(f"{name}: the merged copy has numpy's bytes", equal == len(raw) == len(got),
          f"{equal} of {len(raw)}")
    ids = tokens_of(directory, n)
    check(f"{name}: ids are the reference tokenizer's", ids is not None)
    model, file = reference(directory, raw), write_ids(f"{name}.ids", ids)
    want = model.forward(ids)
    for what, where in (("release", directory), ("merged copy", out)):
        d = largest(logits(where, file), want)
        check(f"{name}: logits of the {what}", d <= LOGITS_TOL, f"largest {d:.1e} of {np.abs(want).max():.0f}")
    return directory, model, ids, file


def presets(name, directory, model, ids, file):
    for preset, opt in ref.PRESETS.items():
        if preset == "sglang":
            continue
        args = ("--preset", "vllm", "--final-order", "scale-cap") if preset == "vllm-scale-first" \
            else ("--preset", preset)
        d = largest(logits(directory, file, *args), model.forward(ids, opt))
        check(f"{name}: logits, preset {preset}", d <= LOGITS_TOL, f"largest {d:.1e}")


def schemes(name, directory, model, ids, file):
    """Widths of 320, 384 and 640: 128 divides only some, so groups shrink."""
    base = model.w
    for scheme, method, bits in (("int4", "rtn", None), ("int8-g64", "rtn", 8), ("int4-g64", "rtn", 4),
                                 ("int4-g32", "search", 4), ("int8-channel", "rtn", 8),
                                 ("int4-g64-asym", "search", 4)):
        out = work(f"{name}-{scheme}")
        grokkit("quantize", directory, out, "--scheme", scheme, "--method", method, "--no-engine-check", "-q")
        raw, weights = ref.load_raw(out), decoded(out)
        packed = unpack(raw)
        if method == "rtn" and bits is not None:
            equal = 0
            for n, (b, q, scale, _) in packed.items():
                want = ref.code_digests(base[n].astype(np.float32), bits, q.shape[1] // scale.shape[1])
                equal += b == bits and want == {"codes_sha256": sha256(q.astype(np.int8).tobytes()),
                                                "scales_sha256": sha256(raw[n + "_scale"][1].tobytes())}
            linear = sum(map(ref.is_quantized_name, base))
            check(f"{name} {scheme}: codes and scales are numpy's", equal == linear == len(packed),
                  f"{equal} of {linear}")
        e = grokkit_json("eval", out, "--base", directory, "--token-ids", file)
        other = ref.Model(config=model.c, weights=weights)
        want = ref.divergence(model, {"other": other}, ids, len(ids), ref.Options())["other"]["llama"]
        kld = e["kld"]["mean"]
        groups = sorted({f"int{b}-g{q.shape[1] // s.shape[1]}" for b, q, s, _ in packed.values()})
        check(f"{name} {scheme}: KLD is the reference's", abs(kld / want["mean_kld"] - 1) <= 0.02
              and e["protocol"]["scored"] == want["tokens"],
              f"{kld:.4e}, reference {want['mean_kld']:.4e}; {' '.join(groups)}")
        d = abs(e["ppl"] / want["ppl"] - 1)
        check(f"{name} {scheme}: perplexity is the reference's", d <= PPL_TOL, f"relative {d:.0e}")


def main():
    odd = copy_and_logits("odd", 150)
    presets("odd", *odd)
    schemes("odd", *odd)
    for name in ("ranks1", "ranks2", "ranks4", "ranks16", "experts16"):
        copy_and_logits(name)


main()
