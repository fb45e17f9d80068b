. tests/cli/helpers
run convert "$TINY" "$T/out" --max-shard-size 1MB --verify --json | sed -n '1,/"tensors"/p'
for file in "$T"/out/*.safetensors; do
    [ "$(wc -c <"$file")" -le 1000000 ] || echo "too large: $file"
done
run audit "$T/out"
quiet convert "$T/out" "$T/one"
quiet convert "$TINY" "$T/two"
cmp "$T/one/model.safetensors" "$T/two/model.safetensors"
