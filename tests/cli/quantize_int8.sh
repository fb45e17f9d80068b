. tests/cli/helpers
run quantize "$TINY" "$T/out" --scheme int8 --verify
run compare "$TINY" "$T/out" | tail -n 1
run inspect "$T/out" --config | sed -n '/quantization_config/,$p'
