. tests/cli/helpers
run quantize "$TINY" "$T/out" --scheme int5
run quantize "$TINY" "$T/out" --scheme int4-g48
run quantize "$TINY" "$T/out" --scheme int4-g128-sym
run quantize "$TINY" "$T/out" --rule norm
run quantize "$TINY" "$T/out" --rule '=int8-g128'
run quantize "$TINY" "$T/out" --rule 'a(=keep'
run quantize "$TINY" "$T/out" --rule 'norm=int8-g128'
run quantize "$TINY" "$T/out" --to mp3
run quantize "$TINY" "$T/out" --to hf
run quantize "$TINY" "$T/out" --method best
run quantize "$TINY" "$T/out.gguf" --scheme Q2_K_S
ls "$T"
