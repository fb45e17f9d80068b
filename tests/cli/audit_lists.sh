. tests/cli/helpers
PROOF=testdata/proof
cp -r $PROOF/model "$T/m"
mkdir -p "$T/m/.cache/huggingface"
cp -r $PROOF/download "$T/m/.cache/huggingface/"
run audit "$T/m"
run hash "$T/m" --check "$T/m"
run audit $PROOF/model --sums "$T/m" --json
printf x >>"$T/m/README.md"
run audit "$T/m"
run hash $PROOF/model --check "$T/m"
run hash "$T/m" --check "$T/m" -q
cp testdata/gguf/grok.gguf "$T/grok.gguf"
run hash "$T/grok.gguf" --gguf-hash
run hash "$T/grok.gguf" -qc $PROOF/grok.gguf.manifest
