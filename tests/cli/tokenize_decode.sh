. tests/cli/helpers
echo '80 633,309 66 270 113' | run tokenize "$TINY" -d
echo
echo '0 1 2 3' | run tokenize "$TINY" --decode --json
run tokenize "$TINY" -d
# to ids and back: the same bytes
printf 'caf\303\251 \360\237\230\200 <|eos|>\n\n\ttabs  and   blanks \n' >"$T/text"
for file in "$T/text" "$TEXT" "$TINY/golden/second.txt" tests/cli.sh; do
    "$GROKKIT" tokenize "$TINY" <"$file" | "$GROKKIT" tokenize "$TINY" -d | cmp - "$file" || echo "not $file"
done
