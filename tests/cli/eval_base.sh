. tests/cli/helpers
quiet quantize "$TINY" "$T/q" --scheme int4-g64 --method rtn -q
run eval "$T/q" --base "$TINY" --text "$TEXT" --ctx 64 --windows 2 -q | round
run eval "$T/q" --base "$TINY" --text "$TEXT" --ctx 64 --windows 2 -q --json | round
run eval "$TINY" --base "$TINY" --text "$TEXT" --ctx 64 --windows 2 -q | round
