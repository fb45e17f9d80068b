# -q: results and errors alone; talk is on stderr, the result on stdout
. tests/cli/helpers
run eval "$TINY" --text "$TEXT" --ctx 32 --windows 1 -q >/dev/null
run eval "$TINY" --text "$TEXT" --ctx 32 --windows 1 -t2 --progress never >/dev/null
run convert "$SMALL" "$T/a" -q --progress json 2>&1 >/dev/null | sed 's/"item".*/ITEM/'
run convert "$SMALL" "$T/b" --progress never >/dev/null
run audit "$SMALL" --progress always 2>"$T/err" >/dev/null
sed 1d "$T/err" | od -An -c | tail -n 1
