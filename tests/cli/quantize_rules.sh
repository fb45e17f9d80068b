# the first rule that matches wins; a name is searched without .weight
. tests/cli/helpers
plan() {
    run quantize "$TINY" "$T/out" -n "$@" \
        | awk '/^\$|exit/ { print } /^ / && !/norm/ { print $1, $2, $4 }'
}
plan --rule 'layers\.1\..*(proj|w[123])$=keep' --rule '(proj|w[123])$=int8-channel'
plan --rule '(proj|w[123])$=int8-channel' --rule 'layers\.1\..*(proj|w[123])$=keep'
plan --scheme int4-g64 --rule 'w2=int8-g64' --no-engine-check
plan --rule 'gate$=f32' --rule 'lm_head=BF16'
plan --rule '^model.embed_tokens$ = f16'
plan --rule 'x=?lm_head=f32' | grep lm_head
