. tests/cli/helpers
fresh
for file in "$T"/m/pytorch_model-00006-TP-00?.safetensors; do
    head -c 4368 "$file" | tail -c 4096 >"$T/w" # expert 0's half of w1
    poke "$file" 4368 <"$T/w"                   # over expert 1's
done
run audit "$T/m"
