# for another program names are whole, whatever a terminal would cut
. tests/cli/helpers
unset COLUMNS
run inspect "$SMALL" --tensors 'w1' --parts
run compare "$SMALL" "$SMALL" --tensors 'norm'
