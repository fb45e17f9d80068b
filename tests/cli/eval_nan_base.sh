# the divergence of a model that computes no number is no number either
. tests/cli/helpers
cp -r "$TINY" "$T/m"
printf '\300\177' | poke "$T/m/pytorch_model-00003-TP-common.safetensors" 1136
quiet eval "$T/m" --base "$TINY" --text "$TEXT" --ctx 32 --windows 2 -q --gate 'kld.mean<=0.02'
quiet eval "$T/m" --base "$TINY" --text "$TEXT" --ctx 32 --windows 2 -q --gate 'kld.max<=1,kld.p99<=1,kld.err<=1,ppl_err<=1'
run eval "$T/m" --base "$TINY" --text "$TEXT" --ctx 32 --windows 2 -q --json | sed -n '/"kld"/,/}/p'
