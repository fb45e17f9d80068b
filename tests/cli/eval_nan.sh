# a model that computes no number meets no gate
. tests/cli/helpers
cp -r "$TINY" "$T/m"
printf '\300\177' | poke "$T/m/pytorch_model-00003-TP-common.safetensors" 1136
quiet eval "$T/m" --text "$TEXT" --ctx 32 --windows 1 -t2 --gate 'ppl<1e300'
quiet eval "$T/m" --text "$TEXT" --ctx 32 --windows 1 -t2 --gate 'ppl>0' --json
