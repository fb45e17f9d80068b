. tests/cli/helpers
# the same text by the ranks of a release, by the merges of a GGUF, by a tokenizer.json
printf 'Human: hi' | run tokenize "$TINY"
printf 'Human: hi' | run tokenize testdata/vocabulary/grok2-tiny.gguf
echo '80 633 309 66 270 113' | run tokenize testdata/vocabulary/grok2-tiny.gguf -d
printf 'the <s>' | run tokenize testdata/vocabulary/text.json
# a directory with a tokenizer and no weights
mkdir "$T/only"
cp testdata/vocabulary/text.json "$T/only/tokenizer.json"
printf 'the <s>' | run tokenize "$T/only"
run tokenize "$TINY/pytorch_model-00003-TP-common.safetensors"
sed 's/"normalizer":null/"normalizer":{"type":"NFC"}/' testdata/vocabulary/text.json >"$T/only/tokenizer.json"
printf 'caf\303\251' | run tokenize "$T/only"
printf 'cafe\314\201' | run tokenize "$T/only"
sed 's/"normalizer":null/"normalizer":{"type":"NFKC"}/' testdata/vocabulary/text.json >"$T/only/tokenizer.json"
run tokenize "$T/only"
# SentencePiece's file by itself, in a directory, beside leaves, and what a GGUF has of it
P=testdata/vocabulary
printf '1984 [EOS]a' | run tokenize "$P/grok1.model"
printf '1984 [EOS]a' | run tokenize "$P/grok1.gguf"
rm "$T/only/tokenizer.json"
cp "$P/grok1.model" "$T/only/tokenizer.model"
printf '1984 [EOS]a' | run tokenize "$T/only"
echo '{"<more>":560}' >"$T/only/added_tokens.json"
printf '<more>1984' | run tokenize "$T/only"
cp -r testdata/grok1-tiny "$T/leaves"
cp "$P/grok1.model" "$T/leaves/tokenizer.model"
printf '1984 [EOS]a' | run tokenize "$T/leaves"
quiet convert "$T/leaves" "$T/leaves.gguf" --to gguf -q
printf '1984 [EOS]a' | run tokenize "$T/leaves.gguf"
echo '500 26 34 33 29 500 2 296' | run tokenize "$T/leaves.gguf" -d
run tokenize "$P/unigram.model"
printf '\n\003abc' >"$T/bad.model"
run tokenize "$T/bad.model"
