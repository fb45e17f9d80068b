. tests/cli/helpers
run convert "$SMALL" "$T/out" --dry-run -t2
run convert "$SMALL" "$T/out" -n -t2 --to hf --max-shard-size 100KB | tail -n 3
run convert "$SMALL" "$T/out" -n --json -t2 | sed -n '1,/"tensors"/p'
ls "$T"
