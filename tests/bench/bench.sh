#!/bin/sh
# One table of speed and memory, measured in one run beside the limits of the machine.
# usage: tests/bench/bench.sh build/CONFIG
set -eu
build=$1
grokkit=$build/grokkit
model=build/models/bench
text=testdata/grok2-tiny/golden/second.txt
threads=$(nproc)
# output where writing costs no disk, when there is such a place
work=build/tmp/bench
[ ! -w /dev/shm ] || work=$(mktemp -d /dev/shm/grokkit-bench.XXXXXX)
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT

# 266 million weights, 533 MB of bf16 in 39 files
[ -f "$model/tokenizer.tok.json" ] || "$build/tests/make_model" "$model" hidden=1024 heads=8 \
    kv_heads=2 head_dim=128 dense=4096 moe=2048 experts=8 top_k=2 layers=4 vocab=4096 ranks=8 seed=3

# the shape of the release itself, with holes for 539 GB of weights; where files may have such
full=build/models/release
[ -f "$full/tokenizer.tok.json" ] || "$build/tests/bench/make_release" "$full" 2>/dev/null || full=

value() { awk -v name="\"$1\":" '$1 == name { gsub(/,/, "", $2); print $2; exit }' "$work/json"; }
largest=$(ls -S "$model"/*.safetensors | head -n 1)
cat "$model"/*.safetensors >/dev/null
"$build/tests/bench/limits" "$largest" >"$work/limits"
limit() { awk -v name="$1" '$1 == name { print $2 }' "$work/limits"; }

"$grokkit" version | sed -n '1,4p'
printf '\nlimits of this machine, %s threads\n' "$threads"
printf '  memcpy, one thread %26s GB/s\n' "$(limit memcpy1)"
printf '  memcpy, all threads %25s GB/s\n' "$(limit memcpy)"
printf '  read from the page cache, one thread %8s GB/s\n' "$(limit read1)"
printf '  matrix product, one thread %18s GFLOP/s\n' "$(limit gemm1)"

printf '\nheaders only (best in 2 s)                       ms  peak RSS\n'
headers() { # headers LABEL COMMAND...
    label=$1
    shift
    "$build/tests/bench/best" 2 "$grokkit" "$@" | awk -v l="$label" '{
        printf "  %-36s %12.1f  %5.1f MB\n", l, $1, $2 / 1e6 }'
}
for path in testdata/grok2-tiny "$model" $full; do
    headers "opening $(basename "$path")" inspect "$path"
done
if [ -n "$full" ]; then
    headers "  as int4-g128, dry run" quantize "$full" "$work/out" --scheme int4-g128 --dry-run
    headers "  as Q4_K_M, dry run" quantize "$full" "$work/out.gguf" --scheme Q4_K_M --dry-run
    headers "  audit of its structure" audit "$full" --no-values --no-checksums
fi

printf '\nquantizing %s of bf16 (best in 5 s)   GB/s in   a thread   of memcpy  peak RSS\n' \
    "$(du -sm "$model" | cut -f1) MB"
quantize() { # quantize LABEL THREADS OPTION...
    label=$1 t=$2
    shift 2
    best=1e9
    begin=$(date +%s)
    while [ "$best" = 1e9 ] || [ $(($(date +%s) - begin)) -lt 5 ]; do
        rm -rf "$work/out"
        "$grokkit" quantize "$model" "$work/out" -t "$t" --hash none -q --json "$@" >"$work/json"
        best=$(awk -v a="$best" -v b="$(value seconds)" 'BEGIN { print a < b ? a : b }')
    done
    awk -v l="$label" -v t="$t" -v s="$best" -v n="$(value input_bytes)" -v c="$(limit memcpy)" \
        -v c1="$(limit memcpy1)" -v r="$(value peak_rss_bytes)" 'BEGIN {
            rate = n / s / 1e9
            printf "  %-36s %7.3f  %9.3f  %9.1f%%  %5.1f MB\n", l, rate, rate / t,
                100 * rate / (t == 1 ? c1 : c), r / 1e6 }'
    rm -rf "$work/out"
}
for t in 1 "$threads"; do
    quantize "int8-g128 rtn, $t threads" "$t" --scheme int8 --method rtn
    quantize "int4-g128 rtn, $t threads" "$t" --scheme int4-g128 --method rtn
    quantize "int4-g128 search, $t threads" "$t" --scheme int4-g128 --method search
    [ "$threads" != 1 ] || break
done

printf '\nfrom one container to another             seconds  bytes read / input  peak RSS\n'
# the bytes that a shell and the children it waited for have read, as Linux counts them
path() { # path LABEL COMMAND FROM OUT [OPTION...]
    label=$1
    shift
    sh -c '"$0" "$@" --hash none -q --json >"$OUT_JSON" && sed -n "s/^rchar: //p" "/proc/$$/io"' \
        "$grokkit" "$@" >"$work/read"
    awk -v l="$label" -v s="$(value seconds)" -v n="$(value input_bytes)" -v b="$(cat "$work/read")" \
        -v r="$(value peak_rss_bytes)" 'BEGIN {
            printf "  %-36s %9.2f  %18.3f  %5.1f MB\n", l, s, b / n, r / 1e6 }'
}
export OUT_JSON="$work/json"
path "release to hf" convert "$model" "$work/hf"
path "release to GGUF, experts stacked" convert "$model" "$work/bf16.gguf"
rm -rf "$work/hf"
path "GGUF to hf" convert "$work/bf16.gguf" "$work/hf"
path "GGUF to int4-g128" quantize "$work/bf16.gguf" "$work/out" --scheme int4-g128 --method rtn
rm -rf "$work/hf" "$work/out" "$work/bf16.gguf"
path "release to Q8_0" quantize "$model" "$work/out.gguf" --scheme Q8_0
rm -f "$work/out.gguf"
path "release to GPTQ, codes transposed" quantize "$model" "$work/out" --to gptq --method rtn
rm -rf "$work/out"
tar cf "$work/model.tar" -C "$(dirname "$model")" "$(basename "$model")"
path "tar to hf" convert "$work/model.tar" "$work/hf"
rm -rf "$work/hf" "$work/model.tar"

printf '\nevaluating, ctx 512, 4 windows          tokens/s   GFLOP/s  of product  peak RSS\n'
for t in 1 "$threads"; do
    "$grokkit" eval "$model" --text "$text" --ctx 512 --windows 4 -t "$t" -q --json >"$work/json"
    # two operations for every weight that a token meets: 114,622,464 of them
    awk -v t="$t" -v r="$(value tokens_per_second)" -v g="$(limit gemm1)" \
        -v m="$(value peak_rss_bytes)" 'BEGIN {
            f = r * 2 * 114.622464e6 / 1e9
            printf "  %-36s %8.1f  %8.1f  %9.1f%%  %5.1f MB\n", t " threads", r, f,
                100 * f / (g * t), m / 1e6 }'
    [ "$threads" != 1 ] || break
done
sed -n '/^kernel/,$p' "$work/limits" | sed '1i\\'
printf '\n'
"$build/tests/bench/blocks"
