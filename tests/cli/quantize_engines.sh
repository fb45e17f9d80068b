# what vLLM and SGLang could not load is refused, unless told otherwise
. tests/cli/helpers
run quantize "$TINY" "$T/out" --scheme int4-g128-asym
quiet quantize "$TINY" "$T/asym" --scheme int4-g128-asym --no-engine-check
run audit "$T/asym"
run quantize "$TINY" "$T/out" --rule 'q_proj=int4-g32' --json
run quantize "$TINY" "$T/out" --rule 'experts\.3\.w1=int8-g128'
quiet quantize "$TINY" "$T/mixed" --rule 'experts\.3\.w1=int8-g128' --no-engine-check
run compare "$TINY" "$T/mixed" --tensors 'experts\.3\.w1'
run quantize "$TINY" "$T/out" --rule 'lm_head=int8-g128'
run quantize "$TINY" "$T/out" --rule 'gate$=int8-g128'
ls "$T"
