# codes can be read again: to plain values, and to other codes
. tests/cli/helpers
quiet quantize "$SMALL" "$T/q" -q
run convert "$T/q" "$T/plain" --verify
run compare "$T/q" "$T/plain" | tail -n 1
run quantize "$T/q" "$T/q2" --scheme int4-g32 -n | sed -n '2,6p'
