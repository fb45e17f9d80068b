. tests/cli/helpers
quiet quantize "$SMALL" "$T/q" -q
run compare "$SMALL" "$SMALL"
run compare "$SMALL" "$T/q"
run compare "$SMALL" "$T/q" --tensors 'k_proj|norm$' --json
run compare "$SMALL/pytorch_model-00003-TP-common.safetensors" "$T/q" | tail -n 1
run compare "$SMALL" "$SMALL" --tensors '['
