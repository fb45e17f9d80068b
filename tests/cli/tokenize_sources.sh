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
run tokenize "$T/only"
