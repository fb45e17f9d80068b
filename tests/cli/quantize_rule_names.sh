# a mix is no scheme of one tensor, unless it is one scheme; a rule that does nothing is told
. tests/cli/helpers
run quantize "$TINY" "$T/out" -n --rule 'proj|w[123]=int4'
run quantize "$TINY" "$T/out" -n --rule '(proj|w[123])$=int8' | awk '/^ / { print $2, $4 }' | sed -n 3,5p
run quantize "$TINY" "$T/out" -n --rule 'layer.O.mlp=keep' --rule 'mlp=keep' --rule 'mlp=int8' | grep warning
