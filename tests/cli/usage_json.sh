# with --json the last line of stderr is the error, also when the words are wrong
. tests/cli/helpers
run --json
run --json frobnicate
run audit --json
run inspect --json "$SMALL" --tensors '('
run quantize --json "$SMALL" "$T/out" --scheme int5
run --json --memory 1Q version
run version -- --json
