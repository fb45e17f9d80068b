. tests/cli/helpers
gate() { quiet eval "$TINY" --base "$TINY" --text "$TEXT" --ctx 32 --windows 2 -t2 --gate "$@" 2>&1 | grep -v weights | round; }
gate 'kld.mean<=0,top1>=1'
gate 'ppl<1e9'
gate 'ppl>1,layers.1.rel_error<=0,experts.0.0>=0,protocol.windows>=2,'
gate 'ppl<=1,top1>1'
gate 'kld.mean<0'
gate 'kld.meen<=1'
gate 'experts>0'
gate 'protocol.name<1'
run eval "$TINY" --text "$TEXT" --ctx 32 --windows 2 -q --gate 'kld.mean<=1' >/dev/null
run eval "$TINY" --text "$TEXT" --gate 'ppl'
run eval "$TINY" --text "$TEXT" --gate 'ppl=5'
run eval "$TINY" --text "$TEXT" --gate 'ppl<='
run eval "$TINY" --text "$TEXT" --gate '<5'
run eval "$TINY" --text "$TEXT" --gate 'ppl<nan'
run eval "$TINY" --text "$TEXT" --gate 'ppl<5;top1>1' --json
