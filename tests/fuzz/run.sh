#!/bin/sh
# Fuzzes every target, one after the other, FUZZ_SECONDS (60) each, and says for each how
# much of its parser's source was reached. What is found lands in tests/fuzz/findings/TARGET,
# where every `make test` tries it again; what was learned stays in build/fuzz/learned.
# usage: tests/fuzz/run.sh build/fuzz [TARGET...]
set -u
build=$1
shift
seconds=${FUZZ_SECONDS:-60}
here=tests/fuzz
program=$PWD/$build/tests/fuzz/fuzz
TMPDIR=$(mktemp -d "${FUZZ_TMPDIR:-/dev/shm}/fuzz.XXXXXX") || exit 1
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
export ASAN_OPTIONS=quarantine_size_mb=8:allocator_may_return_null=1 OMP_NUM_THREADS=1
[ -d "$build/seeds" ] || $here/seeds.sh "$build" "$build/seeds" || exit 1
targets=${*:-$(sed -n 's/^    {"\([a-z_0-9]*\)", .*/\1/p' $here/targets.c)}

# CPU seconds of all that has ended, in $seconds_used (not in a subshell, which has its own)
count_seconds() {
    times >"$build/times"
    seconds_used=$(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, part, "[ms]")
        s += 60 * part[1] + part[2] } printf "%d\n", s }' "$build/times")
}

bad=0
for target in $targets; do
    ln -sf fuzz "$build/tests/fuzz/fuzz_$target"
    fuzz=$(dirname "$program")/fuzz_$target
    mkdir -p "$build/learned/$target" "$here/findings/$target" "$build/seeds/$target" \
        "$here/corpus/$target"
    log=$build/$target.log
    dict=$here/$target.dict
    [ -f "$dict" ] && dict=-dict=$dict || dict=-use_value_profile=0
    count_seconds
    before=$seconds_used
    LLVM_PROFILE_FILE=/dev/null "$fuzz" "$build/learned/$target" "$build/seeds/$target" \
        "$here/corpus/$target" "$here/findings/$target" "$dict" -max_total_time="$seconds" \
        -rss_limit_mb=256 -malloc_limit_mb=128 -timeout=10 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="$here/findings/$target/" >"$log" 2>&1 || {
        bad=1
        echo "fuzz: $target: a finding, see $log"
    }
    count_seconds
    cpu=$((seconds_used - before))
    # once more without mutations, for the lines
    LLVM_PROFILE_FILE=$build/$target.profraw "$fuzz" -runs=0 \
        -artifact_prefix="$TMPDIR/" "$build/learned/$target" \
        "$build/seeds/$target" "$here/corpus/$target" "$here/findings/$target" >/dev/null 2>&1
    lines="no llvm-cov"
    if command -v llvm-cov >/dev/null 2>&1 && llvm-profdata merge -o "$build/$target.profdata" \
        "$build/$target.profraw" 2>/dev/null; then
        files=$(sed -n "s/^    {\"$target\", \"\([a-z_0-9 ]*\)\".*/\1/p" $here/targets.c)
        lines=$(llvm-cov report "$program" -instr-profile="$build/$target.profdata" |
            awk -v files=" $files " '{ name = $1; sub(/.*\//, "", name); sub(/\.c$/, "", name) }
                index(files, " " name " ") { all += $8; missed += $9 }
                END { printf "%d of %d lines (%.0f %%)", all - missed, all, all ? 100 - 100 * missed / all : 0 }')
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-15s %9s runs, %4s inputs, %5s CPU s, %s\n' "$target" "${runs:-?}" \
        "$(ls "$build/learned/$target" | wc -l)" "$cpu" "$lines"
done
find "$here" -type d -empty -delete
exit $bad
