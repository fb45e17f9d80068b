#!/bin/sh
# Programs that read the code: gcc's analyzer, clang-tidy, cppcheck, shellcheck. Clean or an
# error; what is passed over stands here or in tests/static.known with its reason.
# usage: tests/static.sh [analyzer] [tidy] [cppcheck] [shellcheck]
# shellcheck disable=SC2010,SC2048,SC2089,SC2090,SC2317  # our own names, lists of words, "$tool"
set -u
cd "$(dirname "$0")/.." || exit 1
work=build/tmp/static
mkdir -p "$work"
jobs=$(nproc)
flags="-std=c11 -I. -D_GNU_SOURCE -DGK_VERSION=\"0\" -fopenmp"
# the codecs are one text three times over, of arithmetic without pointers' lives
files=$(ls formats/*.c quant/*.c verify/*.c cmd/*.c | grep -v '^quant/\(blocks\|kernels\)')
bad=0

# Prints what a log says that nobody explained: lines "FILE: TEXT" of tests/static.known that
# are in it are passed over, whatever the line number.
unknown() { # unknown LOG
    sed -n 's/^\([^:]*\):[0-9]*:[0-9]*: warning: /\1: /p' "$1" | sort -u >"$1.said"
    grep -v '^#\|^$' tests/static.known | grep -vFf - "$1.said"
}
report() { # report NAME LOG
    found=$(unknown "$2")
    if [ -n "$found" ]; then
        printf 'static: %s\n%s\n' "$1" "$found" >&2
        bad=1
    else
        echo "$1: clean"
    fi
}

analyzer() {
    # shellcheck disable=SC2086  # lists of words
    echo $files | tr ' ' '\n' | LC_ALL=C xargs -P "$jobs" -n 1 gcc $flags -O1 -fanalyzer -c -o /dev/null \
        >"$work/analyzer" 2>&1
    report analyzer "$work/analyzer"
}

# Not asked for: parameters that could be swapped (a matter of taste), conversions (formats/ is
# compiled with -Wconversion), snprintf's and fprintf's results (buffers are sized for them),
# atoi and sscanf (on digits that were looked at, on lines with a CRC), multiplications of
# small constants, arrays of pointers taken for a slip, loops over powers of two, and two
# bytes that are signed in the file.
tidy() {
    checks="-*,bugprone-*,cert-*,-bugprone-easily-swappable-parameters"
    checks="$checks,-bugprone-narrowing-conversions,-cert-err33-c,-cert-err34-c"
    checks="$checks,-bugprone-implicit-widening-of-multiplication-result"
    checks="$checks,-bugprone-sizeof-expression,-cert-flp30-c,-bugprone-signed-char-misuse"
    checks="$checks,-cert-str34-c"
    export checks flags
    # shellcheck disable=SC2016,SC2086  # for the inner shell; lists of words
    echo $files | tr ' ' '\n' | xargs -P "$jobs" -n 6 sh -c \
        'clang-tidy --quiet --checks="$checks" "$@" -- $flags 2>/dev/null' sh |
        sed "s|^$PWD/||" >"$work/tidy"
    report clang-tidy "$work/tidy"
}

cppcheck_() {
    # shellcheck disable=SC2086  # a list of words
    cppcheck -q -j "$jobs" --enable=warning,portability --inline-suppr --std=c11 -I. -D_GNU_SOURCE \
        -DGK_VERSION='"0"' --template='{file}:{line}:{column}: warning: {message} [{id}]' \
        $files >"$work/cppcheck" 2>&1
    report cppcheck "$work/cppcheck"
}

# SC2119: the helper of the CLI tests that takes no argument, or some
shellcheck_() {
    git ls-files '*.sh' .ci/run | xargs shellcheck -x -s sh -e SC2119 -f gcc >"$work/shellcheck" 2>&1
    sed -i 's/: note: /: warning: /; s/: error: /: warning: /' "$work/shellcheck"
    report shellcheck "$work/shellcheck"
}

for tool in ${*:-analyzer tidy cppcheck shellcheck}; do
    case $tool in
    analyzer | tidy) "$tool" ;;
    cppcheck | shellcheck) "${tool}_" ;;
    *) echo "static: no tool '$tool'" >&2; exit 2 ;;
    esac
done
exit "$bad"
