# what does not reach the reader is an error
. tests/cli/helpers
[ -c /dev/full ] || echo "no /dev/full here"
for command in version --help "inspect $SMALL" "audit $SMALL" "hash $SMALL" \
    "convert $SMALL $T/a -n" "quantize $SMALL $T/a -n" "compare $SMALL $SMALL" \
    "tokenize $TINY --text $TEXT" "eval $TINY --text $TEXT --ctx 32 --windows 1 -q"; do
    echo "$command" >&2
    # shellcheck disable=SC2086
    "$GROKKIT" $command >/dev/full
    echo "$command: $?"
    # shellcheck disable=SC2086
    "$GROKKIT" $command >&-
    echo "$command: $?"
done
# findings are still findings, usage is still usage
"$GROKKIT" inspect "$T/none" >/dev/full
echo $?
"$GROKKIT" inspect >/dev/full
echo $?
# the work itself is done
"$GROKKIT" convert "$SMALL" "$T/b" -q >/dev/full
echo $?
ls "$T/b"
