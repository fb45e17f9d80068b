. tests/cli/helpers
run --json inspect "$T/none"
run inspect "$T/none" --json
run inspect --json -- "$T/none"
run -q inspect -- --json
run inspect -- -t
run --tensors 'model.norm' inspect "$SMALL"
run inspect --tensors='model.norm' "$SMALL"
run inspect -t2 "$SMALL" --tensors 'model.norm' -t 1 -qv
run --version >"$T/a" && run version >"$T/b" && sed 1d "$T/a" >"$T/c" && sed 1d "$T/b" | cmp - "$T/c"
run help inspect | sed -n 1,3p
