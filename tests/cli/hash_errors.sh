. tests/cli/helpers
fresh
sum=$(printf '' | sha256sum | cut -c1-64)
run hash "$T/m" --check "$T/none"
echo "# nothing to say
$sum no" >"$T/sums"
run hash "$T/m" --check "$T/sums"
echo "$sum  ../m/config.json" >"$T/sums"
run hash "$T/m" --check "$T/sums"
run hash "$T/m" --check "$T/sums" --json
echo "$sum  absent.safetensors" >"$T/sums"
run hash "$T/m" --check "$T/sums"
rm "$T/m/pytorch_model-00007-TP-001.safetensors"
run hash "$T/m"
