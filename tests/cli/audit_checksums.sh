. tests/cli/helpers
fresh
(cd "$T/m" && sha256sum ./*) >"$T/sums"
mv "$T/sums" "$T/m/SHA256SUMS"
run audit "$T/m"
sed -i '2s/^./x/; 3s/^.../000/' "$T/m/SHA256SUMS"
rm "$T/m/tokenizer.tok.json"
run audit "$T/m"
run audit "$T/m" --no-checksums
sed -i '3!d' "$T/m/SHA256SUMS"
run audit "$T/m" --json
