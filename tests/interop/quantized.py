"""Quantized directories: codes, scales and drift as numpy and the float64 reference see them."""
import json
import os

import numpy as np

from common import CALIBRATION, HELDOUT, TINY, check, decoded, golden, grokkit, grokkit_json, largest, logits, ref, \
    sha256, unpack, work, write_ids

KLD_TOL = 0.02          # relative: float32 logits, and a mean over skewed terms
PPL_TOL = 1e-4          # absolute
TOP1_TOL = 0.001        # absolute: a dozen near ties of 12,573 positions
RATIO_TOL = 1e-4
WINDOWS = 2             # of the live reference, half a second a window and model
CEILING = {"rtn": 0.00075, "search": 0.00059}   # mean KLD of --scheme int4 on heldout.txt

LIVE = {                # name: arguments of quantize
    "int4": ("--scheme", "int4"),
    "int8": ("--scheme", "int8"),
    "int4-g128": ("--scheme", "int4-g128"),
    "int4-g32-rtn": ("--scheme", "int4-g32", "--method", "rtn"),
    "int8-channel": ("--scheme", "int8-channel"),
    "int4-g64-asym": ("--scheme", "int4-g64-asym", "--no-engine-check"),
    "int8-channel-asym": ("--scheme", "int8-channel-asym", "--no-engine-check"),
    "calibrated": ("--scheme", "int4-g128", "--stats", "STATS"),
    "gptq": ("--scheme", "int4", "--method", "gptq", "--stats", "STATS"),
    "allocated": ("--target-bpw", "4.3", "--stats", "STATS", "--no-measure"),
}


def quantize(name, *args):
    out = work(name)
    grokkit("quantize", TINY, out, "-q", *args)
    return out


def codes(name, directory, want):
    """SHA-256 of int8 codes and of scale bits, per tensor, against the golden ones."""
    raw = ref.load_raw(directory)
    got = {}
    for m, (bits, q, scale, zero) in unpack(raw).items():
        got[m] = {"codes_sha256": sha256(q.astype(np.int8).tobytes()),
                  "scales_sha256": sha256(raw[m + "_scale"][1].tobytes())}
    equal = sum(got.get(n) == d for n, d in want.items())
    check(f"{name}: codes and scales have the golden digests", equal == len(want) == len(got),
          f"{equal} of {len(want)}")


def eval_against(directory, *args):
    return grokkit_json("eval", directory, "--base", TINY, "--text", HELDOUT, "--ctx", 256, *args)


def recipes(g):
    """Round to nearest, over the whole text."""
    for recipe, want in g["rtn"]["heldout.txt"].items():
        name, want = recipe.replace("_", "-"), want["llama"]
        out = quantize(f"rtn-{name}", "--scheme", name, "--method", "rtn")
        codes(f"rtn {name}", out, g["rtn_codes"][recipe])
        e = eval_against(out)
        kld, top1, ratio = e["kld"]["mean"], e["top1"], e["ppl"] / e["base"]["ppl"]
        check(f"rtn {name}: KLD is the reference's", abs(kld / want["mean_kld"] - 1) <= KLD_TOL
              and e["protocol"]["scored"] == want["tokens"],
              f"{kld:.4e}, reference {want['mean_kld']:.4e}")
        check(f"rtn {name}: largest KLD is the reference's",
              abs(e["kld"]["max"] / want["max_kld"] - 1) <= KLD_TOL,
              f"{e['kld']['max']:.5f}, reference {want['max_kld']:.5f}")
        check(f"rtn {name}: share of equal top tokens", abs(top1 - want["top1_agreement"]) <= TOP1_TOL,
              f"{top1:.5f}, reference {want['top1_agreement']:.5f}")
        check(f"rtn {name}: ratio of perplexities", abs(ratio - want["ppl_ratio"]) <= RATIO_TOL,
              f"{ratio:.6f}, reference {want['ppl_ratio']:.6f}")


def ceilings():
    for method, ceiling in CEILING.items():
        kld = eval_against(quantize(f"mix-{method}", "--scheme", "int4", "--method", method))["kld"]["mean"]
        check(f"int4 mix, {method}: mean KLD stays below {ceiling}", kld <= ceiling, f"{kld:.6f}")


def plain_tensors(name, directory, raw):
    """What was not quantized is the release's, bit for bit."""
    kept = {n: v for n, v in ref.load_raw(directory).items() if n in raw}
    same = all(t == raw[n][0] and a.tobytes() == raw[n][1].tobytes() for n, (t, a) in kept.items())
    check(f"{name}: plain tensors are the release's", same and len(kept) == 13, f"{len(kept)} tensors")


def decodings(name, directory, weights):
    """`convert` of the directory gives q - zero times scale, which numpy computes here."""
    out = work(name + "-f32")
    grokkit("convert", directory, out, "--to", "hf", "-q")
    ours = {n: ref.to_f64(*v) for n, v in ref.load_raw(out).items()}
    equal = sum(n in ours and np.array_equal(ours[n], w) for n, w in weights.items())
    check(f"{name}: convert decodes to numpy's values", equal == len(weights) == len(ours) == 75,
          f"{equal} of {len(weights)}")


def live(g):
    raw = ref.load_raw(TINY)
    base = ref.Model(TINY)
    with open(HELDOUT, encoding="utf-8", newline="") as f:
        ids = ref.Tokenizer(os.path.join(TINY, "tokenizer.tok.json")).encode(f.read())
    ids_file = write_ids("prompt.ids", g["prompt_ids"]["a"])
    others = {}
    stats = work("stats.gguf")
    grokkit("calibrate", TINY, CALIBRATION, "--ctx", 256, "--tokens", 4096, "--probe-tokens", 512,
            "-o", stats, "-q")
    for name, args in LIVE.items():
        out = quantize(name, *(stats if a == "STATS" else a for a in args))
        weights = decoded(out)
        plain_tensors(name, out, raw)
        decodings(name, out, weights)
        if name.endswith("-asym"):      # the reference itself reads no zero points
            others[name] = ref.Model(config=ref.load_config(out), weights=weights)
        else:
            others[name] = ref.Model(out)
    for name, model in others.items():
        d = largest(logits(work(name), ids_file), model.forward(g["prompt_ids"]["a"]))
        check(f"{name}: logits are the reference's", d <= 5e-4, f"largest {d:.1e}")
    want = ref.divergence(base, others, ids, 256, ref.Options(), WINDOWS)
    for name in others:
        e, w = eval_against(work(name), "--windows", WINDOWS), want[name]["llama"]
        kld = e["kld"]["mean"]
        check(f"{name}: KLD is what the reference computes from the same files",
              abs(kld / w["mean_kld"] - 1) <= KLD_TOL, f"{kld:.4e}, reference {w['mean_kld']:.4e}")
        d = max(abs(e["ppl"] - w["ppl"]), abs(e["base"]["ppl"] - w["ppl_base"]))
        check(f"{name}: perplexities are what the reference computes", d <= PPL_TOL, f"off by {d:.1e}")
        check(f"{name}: share of equal top tokens", abs(e["top1"] - w["top1_agreement"]) <= TOP1_TOL,
              f"{e['top1']:.4f}, reference {w['top1_agreement']:.4f}")


def same_bytes():
    """Threads and the memory ceiling decide tiles, not bytes."""
    digests = set()
    for i, args in enumerate((("-t", 1), ("-t", 2), ("-t", 7), ("-t", 2, "--memory", "48MiB"))):
        out = quantize(f"same{i}", "--scheme", "int4", *args)
        digests.add(ref.sha256_file(os.path.join(out, "model.safetensors")))
    check("1, 2, 7 threads and a small --memory write the same weights", len(digests) == 1)


def errors_told():
    """rel_error of the plan's JSON: sum of squared errors over sum of squares."""
    out = work("told")
    plan = grokkit_json("quantize", TINY, out, "--scheme", "int4")["plan"]
    base, weights = ref.load_weights(TINY), decoded(out)
    worst = 0.0
    for t in plan["tensors"]:
        n = t["name"]
        want = float(((weights[n] - base[n]) ** 2).sum() / (base[n] ** 2).sum())
        worst = max(worst, abs(t["rel_error"] - want) / max(want, 1e-12))
    check("the errors that quantize tells are numpy's", worst <= 1e-6, f"largest relative difference {worst:.1e}")
    table = {t["name"]: t["rel_error"] for t in grokkit_json("compare", TINY, out)["tensors"]}
    worst = max(abs(table[t["name"]] - t["rel_error"]) for t in plan["tensors"])
    check("and those of compare", worst <= 1e-9, f"largest difference {worst:.1e}")
    with open(os.path.join(out, "grokkit.json"), encoding="utf-8") as f:
        files = {e["name"]: e["sha256"] for e in json.load(f)["files"]}
    check("digests in grokkit.json are those of the files",
          files == {n: ref.sha256_file(os.path.join(out, n)) for n in files} and len(files) >= 3,
          f"{len(files)} files")


def cast():
    """--dtype casts what stays plain; scales and codes stay."""
    plain, raw = ref.load_raw(quantize("cast", "--scheme", "int4", "--dtype", "f32")), ref.load_raw(TINY)
    kept = [n for n in plain if n in raw]
    exact = sum(plain[n][0] == "F32" and plain[n][1].tobytes() == ref.bf16_to_f32(raw[n][1]).tobytes()
                for n in kept)
    check("--dtype f32 widens the plain tensors", exact == len(kept) == 13, f"{exact} of {len(kept)}")


def main():
    g = golden()
    cast()
    recipes(g)
    ceilings()
    live(g)
    same_bytes()
    errors_told()


main()
