#!/bin/sh
# Runs the scripts of tests/cli and compares stdout, stderr and exit status with the files
# beside them, byte for byte after tests/cli/scrub.sed.
# usage: tests/cli.sh build/CONFIG [NAME ...]     UPDATE=1 writes the files instead
set -u
build=$1
shift
[ $# -gt 0 ] || set -- tests/cli/*.sh
tests/models.sh "$build" || exit 1
# one table width, one language, one number of threads, no colour, no kernel picked by hand
export LC_ALL=C COLUMNS=100 OMP_NUM_THREADS=2 OPENBLAS_NUM_THREADS=1 TERM=dumb
unset NO_COLOR GK_ISA
GROKKIT=$build/grokkit
export GROKKIT
passed=0
failed=0
log=build/tmp/cli.log
mkdir -p build/tmp
: >"$log"
for script in "$@"; do
    name=$(basename "$script" .sh)
    want=tests/cli/$name
    got=build/tmp/cli.$name
    T=build/tmp/$name
    export T
    rm -rf "$T" && mkdir -p "$T" || exit 1
    sh "$want.sh" >"$got.raw" 2>"$got.raw2" </dev/null
    echo $? >"$got.exit"
    sed -f tests/cli/scrub.sed "$got.raw" >"$got.out"
    sed -f tests/cli/scrub.sed "$got.raw2" >"$got.err"
    rm -rf "$T" "$got.raw" "$got.raw2"
    if [ -n "${UPDATE:-}" ]; then
        for part in out err exit; do mv "$got.$part" "$want.$part"; done
        continue
    fi
    same=1
    for part in out err exit; do
        diff -u "$want.$part" "$got.$part" >>"$log" 2>&1 || same=0
    done
    if [ "$same" = 1 ]; then
        passed=$((passed + 1))
        rm -f "$got.out" "$got.err" "$got.exit"
    else
        failed=$((failed + 1))
        printf '%-28s FAILED\n' "cli/$name"
    fi
done
[ -z "${UPDATE:-}" ] || exit 0
[ "$failed" = 0 ] || cat "$log"
printf '%-28s %3d passed\n' cli "$passed"
[ "$failed" = 0 ]
