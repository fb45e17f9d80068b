. tests/cli/helpers
run eval "$TINY" --text "$TEXT" --ctx 64 --windows 2 -t2 2>&1 | round
run eval "$TINY" --text "$TEXT" --ctx 64 --windows 2 --protocol paper -v -q | round
run eval "$TINY" --text "$TEXT" --text "$TINY/golden/second.txt" --ctx 32 --windows 1 -q | round
