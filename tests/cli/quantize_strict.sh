. tests/cli/helpers
run quantize "$SMALL" "$T/out" --strict
run quantize "$SMALL" "$T/out" --strict --json
run quantize "$SMALL" "$T/out" --strict --scheme int4-g32 -n | tail -n 3 | sed 1q
quiet quantize "$TINY" "$T/out" --strict
