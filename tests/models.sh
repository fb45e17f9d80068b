#!/bin/sh
# Writes the seeded models that tests want beside testdata, into build/models.
# usage: tests/models.sh build/CONFIG
set -eu
make_model=$1/tests/make_model
mkdir -p build/models
model() { # model NAME key=value ...
    name=$1
    shift
    [ -f "build/models/$name/tokenizer.tok.json" ] || "$make_model" "build/models/$name" "$@"
}
odd="hidden=320 heads=5 kv_heads=1 head_dim=64 dense=640 moe=384 experts=4 top_k=1 layers=3 vocab=512
     seed=7 temperature_len=32 original_ctx=128"
# shellcheck disable=SC2086  # lists of words
{
    model odd $odd ranks=4 gate=f32
    model odd-hf $odd gate=f32 layout=hf shard=1000000
}
small="hidden=64 heads=4 kv_heads=2 head_dim=16 dense=96 moe=64 vocab=300"
# shellcheck disable=SC2086
for ranks in 1 2 4 8 16; do
    model "ranks$ranks" $small "ranks=$ranks" layers=2
done
# shellcheck disable=SC2086
{
    model small-hf $small layers=2 layout=hf
    model experts16 $small experts=16 top_k=4 layers=1
    model experts16-hf $small experts=16 top_k=4 layers=1 layout=hf shard=200000
    # widths that few groups divide, or none; of two words with one key the last counts
    model width96 $small hidden=96 dense=192 experts=2 layers=1 ranks=2
    model width80 $small hidden=80 experts=2 layers=1 ranks=2
}
# eight experts, as mixes want them, and widths that 256 divides, or does not
model eight hidden=256 heads=8 kv_heads=2 head_dim=32 dense=512 moe=384 experts=8 top_k=2 layers=3 \
    vocab=512 seed=11 ranks=2
model cli hidden=64 heads=2 kv_heads=1 head_dim=32 dense=96 moe=64 vocab=300 experts=2 top_k=1 \
    layers=1 ranks=2
# the shape of the release itself, in holes; tests of it skip where files have none
release=build/models/release
[ -f "$release/tokenizer.tok.json" ] || "$1/tests/bench/make_release" "$release" || rm -rf "$release"
