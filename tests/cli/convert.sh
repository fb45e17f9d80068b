. tests/cli/helpers
run convert "$SMALL" "$T/out"
ls "$T" "$T/out"
run audit "$T/out"
run compare "$SMALL" "$T/out" | tail -n 1
diff "$SMALL/config.json" "$T/out/config.json"
# any number of threads and tiles, and a release of other ranks: the same bytes
quiet convert "$SMALL" "$T/again" -q -t1 --memory 41M
cmp "$T/out/model.safetensors" "$T/again/model.safetensors"
quiet convert build/models/ranks1 "$T/r1" -q
quiet convert build/models/ranks16 "$T/r16" -q
cmp "$T/r1/model.safetensors" "$T/r16/model.safetensors"
