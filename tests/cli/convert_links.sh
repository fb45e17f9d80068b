# a Hugging Face cache: a repository of blobs and a snapshot of links
. tests/cli/helpers
snapshot=$T/cache/snapshots/0123abcd
mkdir -p "$T/cache/blobs" "$T/cache/refs" "$snapshot"
printf 0123abcd >"$T/cache/refs/main"
for file in "$SMALL"/*; do
    name=$(basename "$file")
    cp "$file" "$T/cache/blobs/$name.blob"
    ln -s "../../blobs/$name.blob" "$snapshot/$name"
done
run audit "$T/cache"
quiet convert "$snapshot" "$T/a" -q
quiet convert "$T/cache" "$T/b" -q
quiet convert "$SMALL" "$T/c" -q
cmp "$T/a/model.safetensors" "$T/c/model.safetensors"
cmp "$T/b/model.safetensors" "$T/c/model.safetensors"
run convert "$T/cache" "$snapshot/out"
