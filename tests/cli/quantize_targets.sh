# each format that is no compressed-tensors of integers: its default scheme, verified, and read again
. tests/cli/helpers
for to in fp8 gptq awq mlx; do
    run quantize "$TINY" "$T/$to" --to "$to" --method rtn --verify | tail -n 6
    run compare "$TINY" "$T/$to" | tail -n 1
done
for scheme in nvfp4 mxfp4; do
    run quantize "$TINY" "$T/$scheme" --scheme "$scheme" --verify | tail -n 6
    run compare "$TINY" "$T/$scheme" | tail -n 1
done
run inspect "$T/gptq" --tensors 'layers\.0\.mlp'
