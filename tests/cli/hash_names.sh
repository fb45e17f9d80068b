# a file's name may hold anything; it is one line of ours
. tests/cli/helpers
file=$(printf 'a\nb\033[31m.safetensors')
cp "$SMALL/pytorch_model-00002-TP-common.safetensors" "$T/$file"
run hash "$T" | sed 1d
