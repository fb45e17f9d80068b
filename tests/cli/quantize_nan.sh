# a value that is no number ends the run, and nothing stays behind
. tests/cli/helpers
fresh
printf '\300\177' | poke "$T/m/pytorch_model-00003-TP-common.safetensors" 1136
run quantize "$T/m" "$T/out"
run quantize "$T/m" "$T/out" --json
mkdir "$T/old"
cp "$SMALL/config.json" "$T/old"
run quantize "$T/m" "$T/old" --force
ls "$T" "$T/old"
