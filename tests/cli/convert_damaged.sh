# nothing is written from a model that is not whole
. tests/cli/helpers
fresh
rm "$T/m/pytorch_model-00007-TP-001.safetensors"
run convert "$T/m" "$T/out"
run convert "$T/m" "$T/out" --json
run convert "$T/m" "$T/out" --dry-run
fresh
truncate -s -1 "$T/m/pytorch_model-00001-TP-common.safetensors"
run convert "$T/m" "$T/out"
run convert "$SMALL" "$T/out" --to gguf2
run convert "$SMALL" "$T/out" --to compressed-tensors
ls "$T"
