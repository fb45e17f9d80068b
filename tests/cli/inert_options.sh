# an option that is taken does something, or says that it cannot
. tests/cli/helpers
echo 80 633 309 >"$T/ids"
html() {
    "$GROKKIT" "$@" --html "$T/$1.html" >/dev/null 2>"$T/err"
    [ -s "$T/$1.html" ] || [ -s "$T/err" ] && echo "$1: ok"
}
html audit "$SMALL"
html compare "$SMALL" "$SMALL"
html eval "$TINY" --token-ids "$T/ids" -q
