# factors of rope that only the GGUF has as a tensor: derived from the other's config, or not
. tests/cli/helpers
LLAMA=testdata/families/llama
quiet convert "$LLAMA" "$T/m.gguf" -q
run compare "$LLAMA" "$T/m.gguf" | grep -v equal$
run compare "$T/m.gguf" "$LLAMA" --tensors rope
run compare "$LLAMA" "$T/m.gguf" --tensors rope --json
cp -r "$LLAMA" "$T/other"
sed -i 's/"low_freq_factor": [0-9.]*/"low_freq_factor": 1.5/' "$T/other/config.json"
cmp -s "$LLAMA/config.json" "$T/other/config.json" && echo 'the config is the same'
run compare "$T/other" "$T/m.gguf" --tensors rope
