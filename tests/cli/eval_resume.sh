# interrupted, a pass is kept; --resume goes on from there, to the same numbers, and tidies up
. tests/cli/helpers
export XDG_CACHE_HOME="$PWD/$T/cache"
WHAT="--text $TEXT --ctx 64 --windows 60 -t2"
figures() { sed '/"seconds"/,/"peak_rss_bytes"/d'; }
"$GROKKIT" eval "$TINY" --base "$TINY" $WHAT --json -q | figures >"$T/whole"
ls -A "$T"
# a signal in the middle: a little later each time, until something was done
interrupt() {
    for delay in 0 0.1 0.2 0.3 0.4 0.6 0.8 1 1.5 2; do
        : >"$T/err"
        "$GROKKIT" eval "$TINY" --base "$TINY" $WHAT --json --memory 1M --progress json "$@" >"$T/out" 2>"$T/err" &
        pid=$!
        until grep -q running "$T/err" || ! kill -0 $pid 2>/dev/null; do sleep 0.02; done
        sleep $delay
        kill -TERM $pid
        wait $pid
        status=$?
        grep -q 'is kept' "$T/err" && break
    done
    return $status
}
interrupt
echo "exit $?"
grep -c 'the same command with --resume goes on' "$T/err"
ls "$T/cache/grokkit" | sed 's/-.*\./-KEY./'
run eval "$TINY" --base "$TINY" $WHAT --json --resume >"$T/resumed" 2>"$T/err"
grep -o 'going on in layer [0-9] of 2' "$T/err" | sed 's/layer [0-9]/layer N/'
sed 1d "$T/resumed" | figures | cmp - "$T/whole" && echo the same
ls -A "$T/cache/grokkit"
# nothing to go on with: it starts; with --spool the state lies there
run eval "$TINY" --base "$TINY" $WHAT --json --resume -q | sed 1d | figures | cmp - "$T/whole" && echo the same
mkdir "$T/spool"
interrupt --spool "$T/spool"
ls "$T/spool" | sed 's/-.*\./-KEY./'
for f in "$T"/spool/*; do printf x | poke "$f" 1000; done
run eval "$TINY" --base "$TINY" $WHAT --json --resume --spool "$T/spool" >"$T/resumed" 2>"$T/err"
grep -o 'starting anew:.*' "$T/err" | sed 's/eval-[0-9a-f]*/eval-KEY/'
sed 1d "$T/resumed" | figures | cmp - "$T/whole" && echo the same
# memory for nothing: activations go to a file that nobody sees, and the numbers stay
"$GROKKIT" eval "$TINY" --base "$TINY" $WHAT --json --memory 1M --spool "$T/spool" 2>"$T/err" | figures | cmp - "$T/whole" && echo the same
grep -o 'activations, .* go to a file' "$T/err"
ls -A "$T/spool"
unset XDG_CACHE_HOME HOME
run eval "$TINY" $WHAT --resume
