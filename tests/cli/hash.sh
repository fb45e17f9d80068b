. tests/cli/helpers
run hash "$SMALL"
run hash "$SMALL" --tensors 'norm'
run hash "$SMALL/pytorch_model-00002-TP-common.safetensors"
run hash "$SMALL/pytorch_model-00002-TP-common.safetensors" --json
