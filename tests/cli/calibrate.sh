. tests/cli/helpers
# digests and digits of the probes depend on the CPU's matrix kernels
plain() {
    sed -e 's/\(sha256 \|"sha256": "\)[0-9a-f]*/\1HEX/' -e 's/[0-9]\.[0-9]*e-0[0-9]/X/g' \
        -e 's/^ *"\(kld\|err\)": .*/      "\1": X,/'
}
head -c 9000 "$TINY/golden/calibration.txt" >"$T/text"
run calibrate "$TINY" "$T/text" -o "$T/s.gguf" --ctx 64 -t2 --probe-tokens 128 2>&1 | plain
run calibrate "$TINY" "$T/text" -o "$T/s.gguf" --ctx 64 -t1 -q --probe-tokens 128 | plain
run calibrate "$TINY" "$T/text" -o "$T/s.gguf" --ctx 64 -t1 -q --probe-tokens 128 --resume --json | plain
run calibrate "$TINY" "$T/text" -o "$T/s.gguf" --ctx 64 -t1 -q --probe-tokens 128 --resume --preset vllm
run inspect "$T/s.gguf" --tensors 'blk.1.attn|ffn_down_exps|grokkit'
run calibrate "$TINY" "$T/text" -o "$T/i.gguf" --ctx 64 --tokens 200 --imatrix -q | plain
run inspect "$T/i.gguf" --tensors 'output|grokkit|blk.0.ffn'
echo 1 2 3 4 5 6 7 8 >"$T/ids"
run calibrate "$TINY" --token-ids "$T/ids" --probe-tokens 0 -o "$T/t.gguf" --preset llama.cpp --gelu erf -q | plain
run quantize "$TINY" "$T/q" --scheme int4-g128 --stats "$T/s.gguf" -q | grep note
