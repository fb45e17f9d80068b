# a size is given, schemes are chosen; without probes every weight counts alike
. tests/cli/helpers
run quantize "$TINY" "$T/out" --target-bpw 4.6 --stats testdata/calibrate/llama-imatrix.gguf -n -t2 \
    --save-recipe "$T/chosen"
cat "$T/chosen"
run quantize "$TINY" "$T/out.gguf" --target-size 3.4MB -n -t2 --rule '^model\.embed_tokens$=Q8_0'
run quantize "$TINY" "$T/out" --recipe "$T/chosen" -n -t2 -q
run quantize "$TINY" "$T/out" --target-bpw 4.6 --target-size 3G -n
run quantize "$TINY" "$T/out" --target-bpw four -n
run quantize "$TINY" "$T/out" --target-bpw 2 -n
run quantize "$TINY" "$T/out.gguf" --target-size 1M -n
run quantize "$TINY" "$T/out" --to awq --target-bpw 5 -n
quiet quantize "$TINY" "$T/out" --target-bpw 5 -n --save-recipe "$TINY/config.json"
# a split set is measured, too
head -c 600 "$TEXT" >"$T/text"
quiet calibrate "$TINY" "$T/text" --ctx 32 --probe-tokens 64 -o "$T/s.gguf" -q
run quantize "$TINY" "$T/split.gguf" --target-bpw 5 --stats "$T/s.gguf" --max-shard-size 1MB |
    grep -o '^measured KLD\|GGUF.*files\|in . weight files'
