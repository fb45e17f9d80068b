# what is no model
. tests/cli/helpers
mkdir "$T/empty"
mkfifo "$T/pipe"
: >"$T/void.safetensors"
run inspect "$T/empty"
run inspect tests
run inspect "$T/pipe"
run inspect "$T/void.safetensors"
run inspect "$T/void.safetensors" --json
run inspect "$SMALL/config.json"
run inspect /dev/null
