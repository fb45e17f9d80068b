#!/bin/sh
# Lays out what the fuzz targets begin with, a folder each: copies of small test data, and
# folders of a tiny model in the layouts that are read, packed into one file.
# usage: tests/fuzz/seeds.sh build/CONFIG OUT
set -eu
grokkit=$1/grokkit
make_model=$1/tests/make_model
out=$2
work=$2.models
rm -rf "$out" "$work"
mkdir -p "$out" "$work"

seed() { # seed TARGET FILE...
    target=$1
    shift
    mkdir -p "$out/$target"
    for file; do
        cp "$file" "$out/$target/$(echo "$file" | tr / _)"
    done
}
pack() { # pack TARGET NAME DIR: the files of a folder as tests/fuzz/targets.c cuts them
    mkdir -p "$out/$1"
    newline=""
    for file in "$3"/*; do
        case $file in */tokenizer* | */*.md) continue ;; esac
        printf '%s--file %s\n' "$newline" "$(basename "$file")"
        newline='
'
        cat "$file"
    done >"$out/$1/$2"
}

tiny="hidden=32 heads=2 kv_heads=1 head_dim=16 dense=32 moe=32 vocab=264 experts=1 top_k=1 layers=1"
# shellcheck disable=SC2086  # a list of words
"$make_model" "$work/release" $tiny ranks=2
pack release release "$work/release"
to() { # to NAME SCHEME
    "$grokkit" quantize -q "$work/release" "$work/$1" --to "${1%-*}" --scheme "$2" --no-engine-check \
        --rule 'lm_head|embed=keep' >/dev/null
    pack config "$1" "$work/$1"
}
to compressed-tensors-4 int4-g32
to compressed-tensors-8 int8-channel
to gptq-4 int4-g32
to awq-4 int4-g32
to mlx-4 int4-g32
to fp8-8 fp8-channel
"$grokkit" quantize -q "$work/release" "$work/q.gguf" --to gguf --scheme Q4_0 >/dev/null
seed gguf "$work/q.gguf" testdata/gguf/*.gguf testdata/vocabulary/bare.gguf
echo 1 2 3 4 5 6 7 8 >"$work/ids"
"$grokkit" calibrate -q "$work/release" --token-ids "$work/ids" --probe-tokens 8 \
    -o "$work/probed.gguf" >/dev/null
seed imatrix testdata/gguf/llama.gguf "$work/probed.gguf"
seed safetensors testdata/grok2-tiny/pytorch_model-0001[37]-TP-common.safetensors
seed pickle testdata/pickle/*.pkl testdata/grok1-mini/ckpt-0/tensor0000[0159]_000
seed torch testdata/torch/*.pt testdata/torch/*.bin testdata/torch/*.pth
seed flax testdata/flax-tiny/chunked.msgpack
seed tok_json testdata/grok2-tiny/tokenizer.tok.json testdata/vocabulary/text.json
seed tokenizer_json testdata/vocabulary/pieces_hf.json testdata/vocabulary/pairs.json
seed sentencepiece testdata/vocabulary/*.model
rm -rf "$work"
