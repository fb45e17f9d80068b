. tests/cli/helpers
run inspect "$SMALL" --config
"$GROKKIT" inspect "$SMALL" --config | cmp - "$SMALL/config.json" && echo "as it is stored"
