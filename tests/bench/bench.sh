#!/bin/sh
# One table of speed and memory, measured in one run beside the limits of the machine, and
# beside peers where environment variables name their programs:
#   LLAMA_QUANTIZE=llama-quantize of llama.cpp
#   CT_QUANTIZE='COMMAND': called with HF OUT, quantizes with compressed-tensors' own int4 rtn
# usage: tests/bench/bench.sh build/CONFIG [--json]
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
exec 3>&1
[ "${2-}" != --json ] || exec >/dev/null

# 266 million weights, 533 MB of bf16 in 39 files
[ -f "$model/tokenizer.tok.json" ] || "$build/tests/make_model" "$model" hidden=1024 heads=8 \
    kv_heads=2 head_dim=128 dense=4096 moe=2048 experts=8 top_k=2 layers=4 vocab=4096 ranks=8 seed=3

# the shape of the release itself, with holes for 539 GB of weights; where files may have such
full=build/models/release
[ -f "$full/tokenizer.tok.json" ] || "$build/tests/bench/make_release" "$full" 2>/dev/null || full=

# every figure, for --json: NAME KEY VALUE, numbers all
figure() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$work/figures"; }
value() { awk -v name="\"$1\":" '$1 == name { gsub(/,/, "", $2); print $2; exit }' "$work/json"; }
calc() { awk "BEGIN { printf \"%.6g\", $1 }"; }
megabytes() { awk -v n="$1" 'BEGIN { printf "%.1f", n / 1e6 }'; }
seconds() { # seconds COMMAND...: of one run
    begin=$(date +%s.%N)
    "$@" >/dev/null 2>&1 || { echo "bench: $1 failed" >&2; exit 1; }
    calc "$(date +%s.%N) - $begin"
}

largest=$(ls -S "$model"/*.safetensors | head -n 1)
cat "$model"/*.safetensors >/dev/null
"$build/tests/bench/limits" "$largest" >"$work/limits"
limit() { awk -v name="$1" '$1 == name { print $2 }' "$work/limits"; }

"$grokkit" version | sed -n '1,4p'
printf '\nlimits of this machine, %s threads\n' "$threads"
show_limit() { # show_limit LABEL NAME UNIT
    printf '  %-40s %8s %s\n' "$1" "$(limit "$2")" "$3"
    figure "limit, $1" "$3" "$(limit "$2")"
}
show_limit 'memcpy, one thread' memcpy1 GB/s
show_limit 'memcpy, all threads' memcpy GB/s
show_limit 'read from the page cache, one thread' read1 GB/s
show_limit 'read and write int4, one thread' plain4-1 GB/s
show_limit 'read and write int4, all threads' plain4 GB/s
show_limit 'read and write int8, one thread' plain8-1 GB/s
show_limit 'read and write int8, all threads' plain8 GB/s
show_limit 'matrix product, one thread' gemm1 GFLOP/s

printf '\nheaders only (best in 2 s)                       ms  peak RSS\n'
headers() { # headers LABEL COMMAND...
    label=$1
    shift
    "$build/tests/bench/best" 2 "$grokkit" "$@" >"$work/best"
    read -r ms rss <"$work/best"
    printf '  %-36s %12.1f  %5.1f MB\n' "$label" "$ms" "$(megabytes "$rss")"
    figure "$label" ms "$ms"
    figure "$label" peak_rss_bytes "$rss"
}
for path in testdata/grok2-tiny "$model" $full; do
    headers "opening $(basename "$path")" inspect "$path"
done
if [ -n "$full" ]; then
    headers "its int4-g128, dry run" quantize "$full" "$work/out" --scheme int4-g128 --dry-run
    headers "its Q4_K_M, dry run" quantize "$full" "$work/out.gguf" --scheme Q4_K_M --dry-run
    headers "audit of its structure" audit "$full" --no-values --no-checksums
fi

printf '\nquantizing %s of bf16 (best in 5 s)   GB/s in   a thread  of read+write  peak RSS\n' \
    "$(du -sm "$model" | cut -f1) MB"
quantize() { # quantize LABEL THREADS LIMIT OPTION...
    label=$1 t=$2 beside=$3
    shift 3
    best=1e9
    begin=$(date +%s)
    while [ "$best" = 1e9 ] || [ $(($(date +%s) - begin)) -lt 5 ]; do
        rm -rf "$work/out"
        "$grokkit" quantize "$model" "$work/out" -t "$t" --hash none -q --json "$@" >"$work/json"
        best=$(calc "$best < $(value seconds) ? $best : $(value seconds)")
    done
    rate=$(calc "$(value input_bytes) / $best / 1e9")
    printf '  %-36s %7.3f  %9.3f  %11.1f%%  %5.1f MB\n' "$label" "$rate" "$(calc "$rate / $t")" \
        "$(calc "100 * $rate / $beside")" "$(megabytes "$(value peak_rss_bytes)")"
    figure "$label" GB/s "$rate"
    figure "$label" of_read_and_write "$(calc "$rate / $beside")"
    figure "$label" peak_rss_bytes "$(value peak_rss_bytes)"
    rm -rf "$work/out"
}
for t in 1 "$threads"; do
    one=
    [ "$t" != 1 ] || one=-1
    for method in rtn search; do
        for bits in 4 8; do
            quantize "int$bits-g128 $method, $t threads" "$t" "$(limit plain$bits$one)" \
                --scheme "int$bits-g128" --method "$method"
        done
    done
    [ "$threads" != 1 ] || break
done
"$grokkit" quantize "$model" "$work/out" --scheme int4-g128 --method rtn -q --json >"$work/json"
with=$(value seconds)
rm -rf "$work/out"
"$grokkit" quantize "$model" "$work/out" --scheme int4-g128 --method rtn -q --json --hash none \
    >"$work/json"
printf '  %-36s %7.3f s, without %.3f s\n' "int4-g128 with SHA-256 of the output" "$with" \
    "$(value seconds)"
figure 'int4-g128 with SHA-256 of the output' s "$with"
figure 'int4-g128 without' s "$(value seconds)"
rm -rf "$work/out"

printf '\nfrom one container to another             seconds  bytes read / input  peak RSS\n'
# the bytes that a shell and the children it waited for have read, as Linux counts them
path() { # path LABEL COMMAND FROM OUT [OPTION...]
    label=$1
    shift
    sh -c '"$0" "$@" --hash none -q --json >"$OUT_JSON" && sed -n "s/^rchar: //p" "/proc/$$/io"' \
        "$grokkit" "$@" >"$work/read"
    read=$(calc "$(cat "$work/read") / $(value input_bytes)")
    printf '  %-36s %9.2f  %18.3f  %5.1f MB\n' "$label" "$(value seconds)" "$read" \
        "$(megabytes "$(value peak_rss_bytes)")"
    figure "$label" s "$(value seconds)"
    figure "$label" reads "$read"
    figure "$label" peak_rss_bytes "$(value peak_rss_bytes)"
}
export OUT_JSON="$work/json"
path "release to hf" convert "$model" "$work/hf"
path "release to GGUF, experts stacked" convert "$model" "$work/bf16.gguf"
path "GGUF to int4-g128" quantize "$work/bf16.gguf" "$work/out" --scheme int4-g128 --method rtn
rm -rf "$work/out"
path "GGUF to hf" convert "$work/bf16.gguf" "$work/out"
rm -rf "$work/out"
path "release to Q8_0" quantize "$model" "$work/out.gguf" --scheme Q8_0
rm -f "$work/out.gguf"
path "release to GPTQ, codes transposed" quantize "$model" "$work/out" --to gptq --method rtn
rm -rf "$work/out"
tar cf "$work/model.tar" -C "$(dirname "$model")" "$(basename "$model")"
path "tar to hf" convert "$work/model.tar" "$work/out"
rm -rf "$work/out" "$work/model.tar"

# beside a peer: the same input, the same threads, turn by turn, the best of each
beside() { # beside LABEL RUNS 'OUR COMMAND' 'THE PEER'S'
    ours=1e9 theirs=1e9
    for i in $(seq "$2"); do
        rm -rf "$work/ours" "$work/ours.gguf" "$work/theirs" "$work/theirs.gguf"
        s=$(seconds sh -c "$3")
        ours=$(calc "$ours < $s ? $ours : $s")
        s=$(seconds sh -c "$4")
        theirs=$(calc "$theirs < $s ? $theirs : $s")
    done
    same=
    if [ -f "$work/ours.gguf" ]; then
        same=', tensors differ'
        ! "$grokkit" compare "$work/ours.gguf" "$work/theirs.gguf" -q >/dev/null ||
            same=', tensors equal'
    fi
    printf '  %-24s %9.2f s %9.2f s %8.1fx%s\n' "$1" "$ours" "$theirs" \
        "$(calc "$theirs / $ours")" "$same"
    figure "$1 beside a peer" s "$ours"
    figure "$1 beside a peer" peer_s "$theirs"
    figure "$1 beside a peer" ratio "$(calc "$theirs / $ours")"
    rm -rf "$work/ours" "$work/ours.gguf" "$work/theirs" "$work/theirs.gguf"
}
if [ -n "${LLAMA_QUANTIZE-}" ]; then
    printf '\nbeside llama-quantize, %s threads     grokkit        peer    ratio\n' "$threads"
    for type in Q8_0:3 Q4_0:3 Q4_K_M:1 Q5_K_M:1 Q6_K:1 IQ4_NL:1; do
        beside "${type%:*}" "${type#*:}" \
            "'$grokkit' quantize '$work/bf16.gguf' '$work/ours.gguf' --scheme ${type%:*} \
                --hash none -q -t $threads" \
            "'$LLAMA_QUANTIZE' '$work/bf16.gguf' '$work/theirs.gguf' ${type%:*} $threads"
    done
fi
if [ -n "${CT_QUANTIZE-}" ]; then
    printf '\nbeside compressed-tensors, %s threads  grokkit        peer    ratio\n' "$threads"
    beside "int4-g128 rtn" 1 \
        "'$grokkit' quantize '$work/hf' '$work/ours' --scheme int4-g128 --method rtn \
            --hash none -q -t $threads" \
        "$CT_QUANTIZE '$work/hf' '$work/theirs'"
fi
rm -rf "$work/hf" "$work/bf16.gguf"

printf '\nevaluating, ctx 512, 4 windows          tokens/s   GFLOP/s  of product  peak RSS\n'
for t in 1 "$threads"; do
    "$grokkit" eval "$model" --text "$text" --ctx 512 --windows 4 -t "$t" -q --json >"$work/json"
    # two operations for every weight that a token meets: 114,622,464 of them
    flops=$(calc "$(value tokens_per_second) * 2 * 114.622464e6 / 1e9")
    part=$(calc "$flops / $(limit gemm1) / $t")
    printf '  %-36s %8.1f  %8.1f  %9.1f%%  %5.1f MB\n' "$t threads" "$(value tokens_per_second)" \
        "$flops" "$(calc "100 * $part")" "$(megabytes "$(value peak_rss_bytes)")"
    figure "evaluating, $t threads" tokens/s "$(value tokens_per_second)"
    figure "evaluating, $t threads" of_product "$part"
    [ "$threads" != 1 ] || break
done
sed -n '/^kernel/,$p' "$work/limits" | sed '1i\\'
printf '\n'
if [ "${2-}" = --json ]; then
    awk -F '\t' 'BEGIN { printf "{\n  \"schema\": 1,\n  \"figures\": [" }
        { printf "%s\n    {\"name\": \"%s\", \"key\": \"%s\", \"value\": %s}", n++ ? "," : "",
              $1, $2, $3 }
        END { print "\n  ]\n}" }' "$work/figures" >&3
else
    "$build/tests/bench/blocks"
fi
