# a signal ends a wait for input: 143 of SIGTERM, nothing on standard output
. tests/cli/helpers
mkfifo "$T/pipe"
"$GROKKIT" tokenize "$TINY" <"$T/pipe" &
pid=$!
exec 3>"$T/pipe"
sleep 1
kill -TERM "$pid"
wait "$pid"
echo "exit $?"
