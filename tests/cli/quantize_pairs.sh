# every format with schemes of every kind: what fits, and what is said where it does not
. tests/cli/helpers
M=testdata/families/llama
S=testdata/calibrate/llama-imatrix.gguf # of another model
for to in hf compressed-tensors fp8 gptq awq mlx gguf; do
    out=$T/out
    [ $to = gguf ] && out=$T/out.gguf
    for how in int8 bf16 int4-g32 int8-channel int4-g64-asym fp8-channel nvfp4 mxfp4 Q4_0 Q4_K_M int2 \
        "Q4_0 --method gptq" "int4-g32 --method gptq" "int4-g32 --method gptq --stats $S" \
        "fp8-channel --method gptq --stats $S"; do
        # shellcheck disable=SC2086  # a list of words
        "$GROKKIT" quantize $M "$out" --to $to --scheme $how --dry-run >/dev/null 2>"$T/said"
        printf '%s, %s: exit %s\n' $to "$how" $?
        sed 's/; known: .*/; known: .../; s/^/    /' "$T/said"
    done
done
