# float32 [T, V] in NumPy's own container, 64 bytes of header at a time
. tests/cli/helpers
echo 80 633 309 66 270 113 >"$T/ids"
quiet eval "$TINY" --token-ids "$T/ids" --logits "$T/l.npy" -q
head -c 128 "$T/l.npy" | od -An -c
wc -c <"$T/l.npy"
ls "$T"
run eval "$TINY" --token-ids "$T/ids" --logits "$T/none/l.npy" -q
run eval "$TINY" --token-ids "$T/ids" --logits "$T" -q --json
