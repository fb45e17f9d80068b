# one window has no spread: the error of a mean over windows is unknown, not 0
. tests/cli/helpers
quiet quantize "$TINY" "$T/q" -q
run eval "$T/q" --base "$TINY" --text "$TEXT" --ctx 32 --windows 1 -q --json | grep '"err"'
quiet eval "$T/q" --base "$TINY" --text "$TEXT" --ctx 32 --windows 1 -q --gate 'kld.err<=0'
