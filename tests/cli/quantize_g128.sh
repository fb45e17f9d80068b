. tests/cli/helpers
run quantize "$TINY" "$T/a" --scheme int4-g128 --method rtn
run quantize "$TINY" "$T/b" --scheme int4-g128 | tail -n 2
run compare "$TINY" "$T/a" | tail -n 1
run compare "$TINY" "$T/b" | tail -n 1
