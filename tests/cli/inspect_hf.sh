# a directory of whole tensors, its index, and one of its files
. tests/cli/helpers
quiet convert "$SMALL" "$T/hf" --max-shard-size 100KB -q
run inspect "$T/hf"
run inspect "$T/hf/model.safetensors.index.json" | sed -n 2,5p
run inspect "$T/hf/model-00002-of-00002.safetensors"
