. tests/cli/helpers
printf 'too short' >"$T/text"
run calibrate "$TINY"
run calibrate "$TINY" "$T/text" --token-ids "$T/ids"
run calibrate "$TINY" "$T/text" -o "$T/s.gguf"
run calibrate "$TINY" "$T/none" -o "$T/s.gguf" --json
run calibrate "$TINY" "$TEXT" -o "$T/s.dat"
run calibrate "$TINY" "$TEXT" -o "$T/s.gguf" --ctx 128 --tokens 100
run calibrate "$TINY" "$TEXT" -o "$TINY/s.gguf"
cp "$T/text" "$T/text.gguf"
run calibrate "$TINY" "$TEXT" "$T/text.gguf" -o "$T/text.gguf" --ctx 64 --tokens 64 --force -q
run calibrate testdata/families/llama "$TEXT" --preset grok1
