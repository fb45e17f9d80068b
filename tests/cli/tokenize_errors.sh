. tests/cli/helpers
echo abc | run tokenize "$TINY" -d
echo 1024 | run tokenize "$TINY" -d
echo 99999999999999999999 | run tokenize "$TINY" -d --json
printf 'ab\377' | run tokenize "$TINY"
run tokenize "$TINY" --text "$T/none"
run tokenize "$T"
run tokenize "$TINY/config.json"
run tokenize "$TINY/tokenizer.tok.json/x"
