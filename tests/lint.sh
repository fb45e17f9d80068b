#!/bin/sh
# Static rules of the tree: includes point down, the library neither prints nor exits, one malloc.
set -u
cd "$(dirname "$0")/.." || exit 1
bad=0
rule() { # rule WHAT LINES
    [ -z "$2" ] && return
    printf 'lint: %s\n%s\n' "$1" "$2" >&2
    bad=1
}
rule "formats/ includes from above" "$(grep -nE '#include "(quant|verify|cmd)/' formats/*.[ch] 2>/dev/null)"
rule "quant/ includes from above" "$(grep -nE '#include "(verify|cmd)/' quant/*.[ch] 2>/dev/null)"
rule "verify/ includes from above" "$(grep -nE '#include "cmd/' verify/*.[ch] 2>/dev/null)"
rule "the library prints or exits" "$(grep -nE '\b(exit|abort|printf|puts|perror)\(' formats/*.c quant/*.c verify/*.c 2>/dev/null)"
rule "malloc outside arena.c" "$(grep -nE '\b(malloc|calloc|realloc)\(' formats/*.c quant/*.c verify/*.c cmd/*.c 2>/dev/null | grep -v '^formats/arena.c')"
rule "files opened outside formats/" "$(grep -nE '\b(open|fopen|openat|creat)\(' quant/*.c verify/*.c 2>/dev/null)"
rule "lines past 100 columns" "$(awk 'length($0) > 100 { print FILENAME ":" FNR }' formats/*.[ch] quant/*.[ch] verify/*.[ch] cmd/*.[ch] tests/*.[ch] tests/*/*.c 2>/dev/null)"
rule "files past 800 lines" "$(wc -l formats/*.[ch] quant/*.[ch] verify/*.[ch] cmd/*.[ch] tests/*.[ch] 2>/dev/null | awk '$2 != "total" && $1 > 800')"
[ "$bad" = 0 ] && echo "lint: clean"
exit "$bad"
