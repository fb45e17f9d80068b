. tests/cli/helpers
run inspect "$SMALL" --json --tensors 'norm|experts\.1' --parts
run inspect "$SMALL/pytorch_model-00002-TP-common.safetensors" --json
