# every bf16 value has an f32 of its own
. tests/cli/helpers
quiet convert "$SMALL" "$T/f32" --dtype f32 -q
run compare "$SMALL" "$T/f32" --tensors 'proj|experts' | tail -n 1
quiet convert "$T/f32" "$T/bf16" --dtype BF16 -q
run compare "$SMALL" "$T/bf16" | tail -n 1
