. tests/cli/helpers
printf 'Human: hi there, I am here' | "$GROKKIT" tokenize "$TINY" >"$T/ids"
printf 'Human: hi there, I am here' >"$T/text"
run eval "$TINY" --token-ids "$T/ids" -q --protocol paper | round
n=$(wc -w <"$T/ids")
run eval "$TINY" --text "$T/text" --ctx "$n" -q --protocol paper | round
printf '5\n 6\t7\r\n\n8' >"$T/ids"
quiet eval "$TINY" --token-ids "$T/ids" -q
echo '5 6 seven' >"$T/ids"
run eval "$TINY" --token-ids "$T/ids" -q
echo '5 -6' >"$T/ids"
run eval "$TINY" --token-ids "$T/ids" -q
echo '5 6 1024' >"$T/ids"
run eval "$TINY" --token-ids "$T/ids" -q
echo '5' >"$T/ids"
run eval "$TINY" --token-ids "$T/ids" -q
: >"$T/ids"
run eval "$TINY" --token-ids "$T/ids" -q --json
