"""The forward pass: goldens of the float64 reference, and what order of ranks may not change."""
import os
import shutil

import numpy as np

from common import GOLDEN, HELDOUT, TINY, check, golden, grokkit, grokkit_json, largest, logits, ref, \
    work, write_ids

LOGITS_TOL = 5e-4      # float32 sums against float64, logits of up to 50
SWAP_TOL = 1e-5  # of a logit
PPL_TOL = 1e-6         # relative


def arrays(g):
    """Every golden array of logits."""
    for e in g["arrays"]:
        if e["kind"] != "logits":
            continue
        ids = write_ids(f"{e['prompt']}.ids", g["prompt_ids"][e["prompt"]])
        d = largest(logits(TINY, ids, "--preset", e["preset"]),
                    np.load(os.path.join(GOLDEN, e["file"])).astype(np.float64))
        check(f"logits of prompt {e['prompt']}, preset {e['preset']}", d <= LOGITS_TOL, f"largest {d:.1e}")


def layouts(g):
    """The merged copy gives the release's logits, bit for bit; so do shards and threads."""
    ids = write_ids("layout.ids", g["prompt_ids"]["a"])
    want = logits(TINY, ids)
    for name, args in (("merged", ()), ("shards", ("--max-shard-size", "1MB"))):
        grokkit("convert", TINY, work(name), "--to", "hf", "-q", *args)
        check(f"logits of the {name} copy are those of the release",
              largest(logits(work(name), ids), want) == 0)
    for t in (1, 3):
        check(f"logits do not depend on threads (-t {t})", largest(logits(TINY, ids, "-t", t), want) == 0)


def swapped(name, groups):
    """A release whose ranks 2 and 5 of these groups have changed places."""
    out = work(name)
    shutil.copytree(TINY, out, ignore=shutil.ignore_patterns("golden"))
    for g in groups:
        a, b = (os.path.join(out, f"pytorch_model-{g}-TP-{r:03d}.safetensors") for r in (2, 5))
        os.rename(a, a + ".x")
        os.rename(b, a)
        os.rename(a + ".x", b)
    return out


def ranks(g):
    ids = g["prompt_ids"]["a"]
    file = write_ids("swap.ids", ids)
    want = logits(TINY, file)
    together = swapped("together", ("00006", "00007", "00008"))
    d = largest(logits(together, file), want)
    check("ranks 2 and 5 of w1, w2 and w3 exchanged: the same logits", d <= SWAP_TOL, f"largest {d:.2e}")
    d = largest(ref.Model(together).forward(ids), np.load(os.path.join(GOLDEN, "logits_a_sglang.npy")))
    check("and the reference's are the same", d <= 1e-9, f"largest {d:.1e}")
    for group, kind in (("00006", "w1"), ("00007", "w2"), ("00008", "w3")):
        alone = swapped(f"alone-{kind}", (group,))
        ours = logits(alone, file)
        d = largest(ours, want)
        check(f"ranks 2 and 5 of {kind} alone exchanged: other logits", 0.1 < d < float("inf"),
              f"largest {d:.2f}")
        d = largest(ours, ref.Model(alone).forward(ids))
        check(f"and they are those of the reference on the same files ({kind})", d <= LOGITS_TOL,
              f"largest {d:.1e}")


def perplexities(g):
    """The quick golden: a few windows, both protocols. (The whole texts are in tests/test_forward.c.)"""
    q = g["perplexity_quick"]
    for protocol in ref.PROTOCOLS:
        e = grokkit_json("eval", TINY, "--text", HELDOUT, "--ctx", g["n_ctx"], "--windows", q["windows"],
                         "--protocol", protocol)
        d = abs(e["ppl"] / q[protocol]["ppl"] - 1)
        check(f"perplexity of {q['windows']} windows, protocol {protocol}",
              d <= PPL_TOL and e["protocol"]["scored"] == q[protocol]["tokens"],
              f"{e['ppl']:.6f}, reference {q[protocol]['ppl']:.6f}")


def main():
    g = golden()
    arrays(g)
    layouts(g)
    ranks(g)
    perplexities(g)


main()
