# NaN, infinities, zeros
. tests/cli/helpers
fresh
printf '\300\177' | poke "$T/m/pytorch_model-00003-TP-common.safetensors" 1136
run audit "$T/m"
run audit "$T/m" --no-values
fresh
printf '\200\377' | poke "$T/m/pytorch_model-00006-TP-001.safetensors" 1136
run audit "$T/m"
fresh
head -c 1024 /dev/zero | poke "$T/m/pytorch_model-00003-TP-common.safetensors" 1136
run audit "$T/m"
fresh
head -c 8192 /dev/zero | poke "$T/m/pytorch_model-00007-TP-001.safetensors" 272
run audit "$T/m" --json
