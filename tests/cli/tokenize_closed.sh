# a closed standard input is an error, not the first file that is opened
. tests/cli/helpers
"$GROKKIT" tokenize "$TINY" <&- | cut -c1-40
"$GROKKIT" tokenize "$TINY" <&-  >"$T/out"
echo "exit $?"
wc -c <"$T/out"
"$GROKKIT" hash "$SMALL" --check - <&-
echo "exit $?"
