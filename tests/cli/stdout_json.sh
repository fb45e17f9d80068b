# with --json the last line of stderr tells it too
. tests/cli/helpers
"$GROKKIT" inspect "$SMALL" --json >/dev/full
echo $?
"$GROKKIT" audit "$SMALL" --json >&-
echo $?
