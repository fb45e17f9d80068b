. tests/cli/helpers
fresh
printf X | poke "$T/m/pytorch_model-00003-TP-common.safetensors" 9
run audit "$T/m"
run audit "$T/m" --json
fresh
printf '\377\377\377\377' | poke "$T/m/pytorch_model-00003-TP-common.safetensors" 0
run audit "$T/m"
fresh
sed -i 's/"BF16"/"BF61"/' "$T/m/pytorch_model-00003-TP-common.safetensors"
run audit "$T/m"
