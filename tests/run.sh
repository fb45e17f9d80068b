#!/bin/sh
# Runs every test program of a build folder and prints one closing line.
# usage: tests/run.sh build/CONFIG
set -u
build=$1
tests/models.sh "$build" || exit 1
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
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
