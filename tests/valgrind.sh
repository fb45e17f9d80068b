#!/bin/sh
# Readers, writers and codecs under valgrind: no invalid access, no uninitialised byte that
# decides or is written, nothing lost. usage: tests/valgrind.sh build/debug
set -eu
build=$1
command -v valgrind >/dev/null 2>&1 || { echo "please install valgrind" >&2; exit 1; }
tests/models.sh "$build"
check() {
    printf '%-28s ' "$(basename "$1")"
    # one thread: valgrind runs one at a time; libgomp keeps its team until exit
    if OMP_NUM_THREADS=1 valgrind --quiet --error-exitcode=99 --leak-check=full \
        --errors-for-leak-kinds=definite --show-leak-kinds=definite --track-origins=yes \
        "$@" >"$build/valgrind.log" 2>&1; then
        echo clean
    else
        echo FAILED
        tail -n 60 "$build/valgrind.log"
        exit 1
    fi
}
out=$build/valgrind
rm -rf "$out"
mkdir -p "$out"
# (test_writer and test_rewrite make hundreds of models; the commands below stand for them)
for name in text scan safetensors release hf_dir output kernels codec; do
    [ ! -x "$build/tests/test_$name" ] || check "$build/tests/test_$name"
done
tiny=testdata/grok2-tiny
grokkit=$build/grokkit
check "$grokkit" inspect "$tiny" --parts
check "$grokkit" audit "$tiny" -t 1
check "$grokkit" convert "$tiny" "$out/hf" --max-shard-size 1MB --verify -t 1
check "$grokkit" quantize "$tiny" "$out/int4" --verify -t 1
check "$grokkit" quantize build/models/odd "$out/asym" --scheme int8-g64-asym --no-engine-check -t 2
check "$grokkit" compare "$tiny" "$out/int4" -t 1
check "$grokkit" hash "$out/int4"
rm -rf "$out"
