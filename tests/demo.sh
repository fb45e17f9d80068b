#!/bin/sh
# The tour: what grokkit does with a release, on the small trained Grok-2 of testdata.
# usage: tests/demo.sh build/CONFIG/grokkit
set -eu
grokkit=$1
model=testdata/grok2-tiny
text=$model/golden/heldout.txt
out=build/demo
rm -rf "$out"
mkdir -p "$out"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
else
    bold='' plain=''
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
show() { # a command, as one would type it, and what it prints
    printf '\n%s$ grokkit %s%s\n' "$bold" "$*" "$plain"
    "$grokkit" "$@"
}
key() { # key NAME FILE: the first number or string of that name in a JSON report
    awk -v name="\"$1\":" '$1 == name { gsub(/[",]/, "", $2); print $2; exit }' "$2"
}

say "A Grok-2 in the layout of the release: 39 files cut for eight GPUs (a small one, really trained)."
show audit "$model"
say "The plan: every output byte is known before a weight is read."
show quantize "$model" "$out/int4" --scheme int4 --dry-run

say "Three ways to make it smaller, each measured by a real forward pass against the original:"
i=0
for scheme in int8 int4 int4-g128; do
    "$grokkit" quantize "$model" "$out/$scheme" --scheme "$scheme" --json -q >"$out/$scheme.plan"
    "$grokkit" eval "$out/$scheme" --base "$model" --text "$text" --ctx 256 --json -q \
        >"$out/$scheme.eval"
done
printf '\n%-12s %9s  %11s  %10s  %9s  %13s  %9s\n' scheme size "bits/weight" perplexity change \
    "KL divergence" "same top"
row() { # row NAME BYTES BITS PPL BASE KLD TOP1
    awk -v n="$1" -v b="$2" -v w="$3" -v p="$4" -v o="$5" -v k="$6" -v t="$7" 'BEGIN {
        printf "%-12s %6.2f MB  %11.3f  %10.4f  %+8.3f%%  %13s  %9s\n", n, b / 1e6, w, p,
            (p / o - 1) * 100, k == "" ? "-" : sprintf("%.6f", k),
            t == "" ? "-" : sprintf("%.2f%%", t * 100) }'
}
base=$(awk '$1 == "\"base\":" { getline; gsub(/,/, "", $2); print $2; exit }' "$out/int8.eval")
row bf16 "$(key input_bytes "$out/int8.plan")" 16 "$base" "$base" "" ""
for scheme in int8 int4 int4-g128; do
    i=$((i + 1))
    kld=$(awk '$1 == "\"kld\":" { getline; gsub(/,/, "", $2); print $2; exit }' "$out/$scheme.eval")
    row "$scheme" "$(key output_bytes "$out/$scheme.plan")" \
        "$(key bits_per_weight "$out/$scheme.plan")" "$(key ppl "$out/$scheme.eval")" "$base" \
        "$kld" "$(key top1 "$out/$scheme.eval")"
done
cat <<'END'

int8 is the same model to the eye. int4 keeps attention in int8: a sixth of the drift of
int4-g128 everywhere. (Embeddings and lm_head stay bf16: a large share of a model this small,
0.8 % of the real one, where int4 comes to 4.4 bits a weight.)
END
say "Now the real one. With the 539 GB release in grok-2/:"
cat <<'END'
  grokkit audit grok-2/                                   # complete and sound, or what is missing
  grokkit quantize grok-2/ grok-2-int4/ --dry-run         # sizes, memory, time: nothing is written
  grokkit quantize grok-2/ grok-2-int4/ --verify
  grokkit eval grok-2-int4/ --base grok-2/ --text wiki.test.raw --windows 16
  vllm serve grok-2-int4/ --tensor-parallel-size 8        # vLLM 0.24, the last with Grok
END
