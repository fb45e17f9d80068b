# OUT that is empty or a link to nowhere is refused before any work
. tests/cli/helpers
ln -s nowhere "$T/link"
run convert "$SMALL" ''
run convert "$SMALL" "$T/link"
run convert "$SMALL" "$T/link" --force
ls "$T"
