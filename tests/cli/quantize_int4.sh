# the default: int4 with attention in int8; widths of 64 and 96 take smaller groups
. tests/cli/helpers
run quantize "$SMALL" "$T/out" -n -t2
run quantize "$SMALL" "$T/out" --verify
run inspect "$T/out" --config | sed -n '/quantization_config/,$p'
run audit "$T/out"
quiet quantize "$SMALL" "$T/again" -q -t1 --to compressed-tensors --scheme INT4 --method search
cmp "$T/out/model.safetensors" "$T/again/model.safetensors"
ls "$T/out"
