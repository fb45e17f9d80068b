. tests/cli/helpers
: >"$T/sums"
run hash "$SMALL" --check "$T/sums"
run hash "$SMALL" --check - <"$T/sums" --json
(cd "$SMALL" && sha256sum ./*.json) >"$T/sums"
run hash "$SMALL" --check "$T/sums"
"$GROKKIT" hash "$SMALL" --tensors model.norm >"$T/sums"
run hash "$SMALL" --check "$T/sums" --json
run hash "$SMALL" --tensors 'no such name'
