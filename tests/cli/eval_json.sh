. tests/cli/helpers
run eval "$TINY" --text "$TEXT" --ctx 64 --windows 2 -q --json | round
