. tests/cli/helpers
printf 'Human: hi' | run tokenize "$TINY"
printf 'Human: hi' | run tokenize "$TINY" --json
printf 'a\0b\n' | run tokenize "$TINY"
run tokenize "$TINY"
run tokenize "$TINY" --json
run tokenize "$TINY/tokenizer.tok.json" --text "$TINY/LICENSE" | cut -c1-60
