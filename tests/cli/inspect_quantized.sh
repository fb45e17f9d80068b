. tests/cli/helpers
quiet quantize "$SMALL" "$T/q" -q
run inspect "$T/q"
run inspect "$T/q" --tensors 'q_proj' --parts
