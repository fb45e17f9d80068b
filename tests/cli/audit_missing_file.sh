. tests/cli/helpers
fresh
rm "$T/m/pytorch_model-00007-TP-001.safetensors"
run audit "$T/m"
fresh
rm "$T/m/pytorch_model-00003-TP-common.safetensors"
run audit "$T/m"
fresh
rm "$T"/m/pytorch_model-0000[678]-TP-001.safetensors
run audit "$T/m"
run audit "$T/m" --json
