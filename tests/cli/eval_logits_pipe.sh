# what is no regular file is written to, or refused, but not replaced
. tests/cli/helpers
echo 80 633 >"$T/ids"
mkfifo "$T/pipe"
timeout 10 head -c 128 <"$T/pipe" >"$T/got" &
timeout 10 "$GROKKIT" eval "$TINY" --token-ids "$T/ids" --logits "$T/pipe" -q >/dev/null 2>&1
[ -p "$T/pipe" ] && echo "still a pipe"
# a link keeps leading where it led
echo old >"$T/real.npy"
ln -s real.npy "$T/link.npy"
"$GROKKIT" eval "$TINY" --token-ids "$T/ids" --logits "$T/link.npy" -q >/dev/null
[ -L "$T/link.npy" ] && echo "still a link"
wc -c <"$T/real.npy"
