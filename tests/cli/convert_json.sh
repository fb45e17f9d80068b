. tests/cli/helpers
run convert "$SMALL" "$T/out" --verify --json --hash all
(cd "$T/out" && sha256sum -- *.safetensors config.json)
