# several models against one base in one pass, and each layer alone
. tests/cli/helpers
quiet quantize "$TINY" "$T/int4" --scheme int4-g64 --method rtn -q
quiet quantize "$TINY" "$T/int8" --scheme int8-g64 --method rtn -q
WHAT="--text $TEXT --ctx 64 --windows 2 -q"
run eval "$T/int4" --base "$TINY" --also "$T/int8" --local $WHAT | round 1
run eval "$T/int4" --base "$TINY" --also "$T/int8" $WHAT --json >"$T/both"
run eval "$T/int4" --base "$TINY" $WHAT --json >"$T/one"
run eval "$T/int8" --base "$TINY" $WHAT --json >"$T/two"
# a model's figures are those that it has alone
figures() { grep -E '^ *"(ppl|nll|mean|err|p99|max|top5|rms|rel_error|gate_drift)"' | tr -d ' ,'; }
figures <"$T/both" | sort -u >"$T/have"
cat "$T/one" "$T/two" | figures | sort -u | cmp - "$T/have" && echo the same
grep -c '"local_error"' "$T/both"
quiet eval "$T/int4" --base "$TINY" --also "$T/int8" $WHAT --gate 'kld.mean<=0.01,flips.share<=0,delta_p.rms<=0.02'
quiet eval "$T/int4" --base "$TINY" --also "$T/int8" $WHAT --gate 'kld.p95<=1e-9'
run eval "$T/int4" --also "$T/int8" $WHAT
run eval "$T/int4" --local $WHAT
run eval "$T/int4" --base "$TINY" --also testdata/grok1-tiny $WHAT
run eval a --base b --also c --also d --also e --also f --also g --also h --also i --also j --also k $WHAT
