. tests/cli/helpers
fresh
"$GROKKIT" hash "$T/m" | sed -n '1,3p;$p' >"$T/sums"
run hash "$T/m" --check "$T/sums"
run hash "$T/m" -qc "$T/sums"
run hash "$T/m" --check - <"$T/sums"
sed -i '2s/^.../000/;4s/^.../000/' "$T/sums"
run hash "$T/m" --check "$T/sums"
run hash "$T/m" --check "$T/sums" -q
rm "$T/m/pytorch_model-00000-TP-common.safetensors"
run hash "$T/m" --check "$T/sums"
