. tests/cli/helpers
fresh
truncate -s -10 "$T/m/pytorch_model-00007-TP-001.safetensors"
run audit "$T/m"
fresh
truncate -s 5 "$T/m/pytorch_model-00001-TP-common.safetensors"
run audit "$T/m"
fresh
echo more >>"$T/m/pytorch_model-00001-TP-common.safetensors"
run audit "$T/m"
