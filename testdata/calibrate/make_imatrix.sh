#!/bin/sh
# Makes llama-imatrix.gguf: what llama.cpp's llama-imatrix counts in grok2-tiny, with weights and
# cache in f32, as its bf16 products send a few tokens to other experts.
# usage: make_imatrix.sh LLAMA_BIN GROKKIT, from the root of the tree
set -eu
here=$PWD
"$2" convert testdata/grok2-tiny build/tmp/imatrix.gguf --to gguf --gguf-rope yarn --dtype f32 -q -f
cd testdata/grok2-tiny/golden
"$1/llama-imatrix" -m "$here/build/tmp/imatrix.gguf" -f calibration.txt -c 256 --chunks 8 \
    -ctk f32 -ctv f32 -o "$here/testdata/calibrate/llama-imatrix.gguf"
