# plans: what is stored, what config.json will say, what does not fit
. tests/cli/helpers
run quantize "$SMALL" "$T/out" --to fp8 --scheme fp8-block -n -t2
run quantize "$SMALL" "$T/out" --to gptq -n -t2 --strict
run quantize "$TINY" "$T/out" --to awq --scheme int4 -n
run quantize "$TINY" "$T/out" --to mlx --scheme nvfp4 -n
run quantize "$TINY" "$T/out" --to awq --rule 'mlp\.=int4-g64-asym' -n
