# tensors that the model should not have, and files that are none of its own
. tests/cli/helpers
fresh
sed -i 's/post_moe_norm/post_mox_norm/' "$T/m/pytorch_model-00016-TP-common.safetensors"
run audit "$T/m"
fresh
cp "$T/m/pytorch_model-00003-TP-common.safetensors" "$T/m/extra.safetensors"
run audit "$T/m"
fresh
cp "$T/m/pytorch_model-00003-TP-common.safetensors" "$T/m/pytorch_model-00099-TP-common.safetensors"
run audit "$T/m"
fresh
sed -i 's/model.norm/\\u001b.nor/' "$T/m/pytorch_model-00002-TP-common.safetensors"
run audit "$T/m"
