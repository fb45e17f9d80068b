# blanks around a condition change nothing
. tests/cli/helpers
quiet eval "$TINY" --text "$TEXT" --ctx 32 --windows 1 -q --gate 'ppl<1e9, ppl>100' 2>&1 | round
quiet eval "$TINY" --text "$TEXT" --ctx 32 --windows 1 -q --gate ' ppl < 1e9 , nll <= 95 '
quiet eval "$TINY" --text "$TEXT" --ctx 32 --windows 1 -q --gate 'ppl < 1e9 x'
