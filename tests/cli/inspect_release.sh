. tests/cli/helpers
run inspect "$SMALL"
run inspect "$TINY/"
