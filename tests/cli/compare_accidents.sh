# what happened to a model on its way: rows of zeros, a file of another rank
. tests/cli/helpers
fresh
head -c 1024 /dev/zero | poke "$T/m/pytorch_model-00003-TP-common.safetensors" 1136
run compare "$SMALL" "$T/m" --html "$T/page.html" | sed -n '/^verdict/,$p'
run compare "$SMALL" "$T/m" --json | sed -n '/"verdict"/,/^  \]/p'
grep -o '<h2>[^<]*\|class="verdict[^<]*' "$T/page.html"
fresh
mv "$T/m/pytorch_model-00006-TP-000.safetensors" "$T/between"
mv "$T/m/pytorch_model-00006-TP-001.safetensors" "$T/m/pytorch_model-00006-TP-000.safetensors"
mv "$T/between" "$T/m/pytorch_model-00006-TP-001.safetensors"
run compare "$SMALL" "$T/m" | sed -n '/^verdict/,$p'
