# OUT is replaced by --force alone, and only when it is a model or empty
. tests/cli/helpers
mkdir "$T/empty" "$T/other"
echo precious >"$T/other/notes"
echo precious >"$T/file"
quiet convert "$SMALL" "$T/out" -q
cp "$T/out/model.safetensors" "$T/before"
run convert "$SMALL" "$T/out"
run convert "$SMALL" "$T/out" --json
quiet convert "$TINY" "$T/out" --force
cmp "$T/before" "$T/out/model.safetensors" | cut -d: -f1
run convert "$SMALL" "$T/empty"
quiet convert "$SMALL" "$T/empty" --force
run convert "$SMALL" "$T/other" --force
run convert "$SMALL" "$T/file" -f
run convert "$SMALL" "$T/no/such/place"
ls "$T" "$T/other"
cat "$T/file"
