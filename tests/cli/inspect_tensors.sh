. tests/cli/helpers
run inspect "$SMALL" --tensors 'self_attn|w2'
run inspect "$SMALL" --tensors 'experts\.1\.w' --parts
run inspect "$SMALL/pytorch_model-00006-TP-001.safetensors" --parts
run inspect "$SMALL" --tensors '('
run inspect "$SMALL" --tensors '*a'
