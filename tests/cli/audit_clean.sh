. tests/cli/helpers
run audit "$SMALL"
run audit "$TINY" --no-values
run audit "$SMALL" --json
run audit "$SMALL/pytorch_model-00003-TP-common.safetensors"
run audit build/models/odd-hf
run audit build/models/odd-hf/model.safetensors.index.json
