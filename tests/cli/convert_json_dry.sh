# the plan has the keys of a run, but for what a run alone can tell
. tests/cli/helpers
run convert "$SMALL" "$T/out" -n --json | grep -c '"seconds"'
