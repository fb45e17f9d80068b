#!/bin/sh
# Other people's software reads what the binary writes; one line a check, one closing line.
# usage: tests/interop/run.sh build/CONFIG [interop|interop-full]
set -eu
build=$1
goal=${2:-interop}
here=tests/interop

# Debian's python3 comes without venv
python3 -c 'import ensurepip, venv' 2>/dev/null || tests/deps.sh python3 python3-venv

# environment VENV REQUIREMENTS: made once, and again when the list changes
environment() {
    cmp -s "$2" "$1/requirements.txt" && return
    echo "making $1" >&2
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/pip" install -q --disable-pip-version-check -r "$2"
    cp "$2" "$1/requirements.txt"
}

case $goal in
interop)
    venv=build/venv
    environment "$venv" "$here/requirements.txt"
    subjects="containers tokens forward quantized geometry"
    ;;
interop-full)
    venv=build/venv-full
    environment "$venv" "$here/requirements-full.txt"
    subjects="library"
    ;;
*)
    echo "usage: $0 build/CONFIG [interop|interop-full]" >&2
    exit 2
    ;;
esac

tests/models.sh "$build"
mkdir -p build/interop
log=build/interop/$goal.log
: >"$log"
for subject in $subjects; do
    { "$venv/bin/python" "$here/$subject.py" "$build" 2>&1 || echo "FAIL $subject: ended early"; } |
        tee -a "$log"
done
passed=$(grep -c '^ok   ' "$log" || true)
failed=$(grep -c '^FAIL ' "$log" || true)
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
