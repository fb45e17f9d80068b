# a model that does not fit together is shown, a file that cannot be read is an error
. tests/cli/helpers
fresh
rm "$T/m/pytorch_model-00007-TP-001.safetensors"
run inspect "$T/m" | sed -n 1,6p
fresh
truncate -s -1 "$T/m/pytorch_model-00007-TP-001.safetensors"
run inspect "$T/m"
