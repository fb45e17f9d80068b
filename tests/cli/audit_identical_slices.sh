# one rank's file in the place of another's: names and shapes fit, values do not
. tests/cli/helpers
fresh
cp "$T/m/pytorch_model-00008-TP-000.safetensors" "$T/m/pytorch_model-00008-TP-001.safetensors"
run audit "$T/m"
