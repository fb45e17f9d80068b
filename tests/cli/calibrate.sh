. tests/cli/helpers
# digests depend on the CPU's matrix kernels
plain() { sed 's/\(sha256 \|"sha256": "\)[0-9a-f]*/\1HEX/'; }
head -c 9000 "$TINY/golden/calibration.txt" >"$T/text"
run calibrate "$TINY" "$T/text" -o "$T/s.gguf" --ctx 64 -t2 2>&1 | plain
run calibrate "$TINY" "$T/text" -o "$T/s.gguf" --ctx 64 -t1 -q
run calibrate "$TINY" "$T/text" -o "$T/s.gguf" --ctx 64 -t1 -q --resume --json | plain
run calibrate "$TINY" "$T/text" -o "$T/s.gguf" --ctx 64 -t1 -q --resume --preset vllm
run inspect "$T/s.gguf" --tensors 'blk.1.attn|ffn_down_exps|grokkit'
run calibrate "$TINY" "$T/text" -o "$T/i.gguf" --ctx 64 --tokens 200 --imatrix -q | plain
run inspect "$T/i.gguf" --tensors 'output|grokkit|blk.0.ffn'
echo 1 2 3 4 5 6 7 8 >"$T/ids"
run calibrate "$TINY" --token-ids "$T/ids" -o "$T/t.gguf" --preset llama.cpp --gelu erf -q | plain
run quantize "$TINY" "$T/q" --scheme int4-g128 --stats "$T/s.gguf" -q | grep note
