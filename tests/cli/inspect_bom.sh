. tests/cli/helpers
fresh
(cd "$T/m" && sha256sum config.json pytorch_model-00002-TP-common.safetensors >SHA256SUMS)
run inspect "$T/m" --bom
