# sha256sum reads our lines of files, and we read its lines
. tests/cli/helpers
"$GROKKIT" hash "$SMALL" | grep -v 'safetensors:' >"$T/sums"
home=$PWD
(cd "$SMALL" && sha256sum -c "$home/$T/sums")
(cd "$SMALL" && sha256sum -b ./*.json | sed 's/\.\///') >"$T/sums"
run hash "$SMALL" --check "$T/sums"
# a merged tensor has the digest of the same tensor in one file
quiet convert "$SMALL" "$T/hf" -q
"$GROKKIT" hash "$SMALL" --tensors . | sed 's/ .*:/ /' >"$T/a"
"$GROKKIT" hash "$T/hf" --tensors . | sed 's/ .*:/ /' | cmp - "$T/a" && wc -l <"$T/a"
