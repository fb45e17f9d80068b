# --dtype is the dtype of all that stays plain
. tests/cli/helpers
run convert "$SMALL" "$T/out" -n --dtype f16 | awk '/^ / { print $2, $4 }'
run quantize "$SMALL" "$T/out" -n --dtype f32 | awk '/^ / { print $2, $4 }'
quiet convert "$SMALL" "$T/f32" --dtype f32 -q
run inspect "$T/f32" --tensors . | awk '$2 == "BF16" { print }'
