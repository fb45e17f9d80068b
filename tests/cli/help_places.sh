# help is found wherever it is asked for, and is no error
. tests/cli/helpers
first() { "$GROKKIT" "$@" | sed -n '1,2p'; }
first help
first help audit
first audit -h
first -h audit
first audit "$SMALL" --help
first --json audit --help
first quantize --rule x -qh
unset COLUMNS
"$GROKKIT" quantize --help | awk 'length($0) > 80 { print "too wide: " $0 }'
COLUMNS=40 "$GROKKIT" quantize --help | awk 'length($0) > 80 { print "too wide: " $0 }'
