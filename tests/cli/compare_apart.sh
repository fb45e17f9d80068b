# tensors that cannot be compared, and no tensors at all, are no success
. tests/cli/helpers
mkdir "$T/a" "$T/b"
cp "$SMALL/pytorch_model-00002-TP-common.safetensors" "$T/a/m.safetensors"
cp "$TINY/pytorch_model-00002-TP-common.safetensors" "$T/b/m.safetensors"
quiet compare "$T/a/m.safetensors" "$T/b/m.safetensors"
quiet compare "$SMALL" "$SMALL" --tensors 'no such name'
