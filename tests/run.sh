#!/bin/sh
# Runs every test program of a build folder and prints one closing line.
# usage: tests/run.sh build/CONFIG
set -u
build=$1
tests/models.sh "$build" || exit 1
tests/fuzz/seeds.sh "$build" build/tmp/fuzz-seeds || exit 1
passed=0
failed=0
for test in "$build"/tests/test_*; do
    case $test in *.o | *.d | *.log) continue ;; esac
    if "$test" >"$test.log" 2>&1; then
        n=$(sed -n 's/^\[  PASSED  \] \([0-9]*\) test.*/\1/p' "$test.log" | awk '{ s += $1 } END { print s + 0 }')
        passed=$((passed + n))
        printf '%-28s %3d passed\n' "$(basename "$test")" "$n"
    else
        failed=$((failed + 1))
        printf '%-28s FAILED\n' "$(basename "$test")"
        grep -vE '^\[ +(RUN|OK) +\]' "$test.log" | tail -n 40
    fi
done
tests/cli.sh "$build" >"$build/tests/cli.log" || n_bad=$(grep -c '^cli/.* FAILED$' "$build/tests/cli.log")
cat "$build/tests/cli.log"
failed=$((failed + ${n_bad:-0}))
n=$(sed -n 's/^cli  *\([0-9]*\) passed$/\1/p' "$build/tests/cli.log")
passed=$((passed + ${n:-0}))
[ -n "$n" ] || failed=$((failed + 1))
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
