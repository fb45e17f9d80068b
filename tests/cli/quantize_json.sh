. tests/cli/helpers
run quantize "$SMALL" "$T/out" --json
(cd "$T/out" && sha256sum -- *.safetensors config.json)
