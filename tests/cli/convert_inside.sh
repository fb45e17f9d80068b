# OUT is never MODEL, in it or around it, by whatever name
. tests/cli/helpers
fresh
ln -s m "$T/link"
run convert "$T/m" "$T/m"
run convert "$T/m" "$T/m" --force
run convert "$T/m" "$T/m/out"
run convert "$T/m" "$T/m/" --force
run convert "$T/m" "$T" --force
run convert "$T/link" "$T/m" --force
run convert "$T/m" "$T/link" --force
run convert "$T/m" "$T/link/out"
run convert "$T/link/../m" "$T/m/out" --json
run convert "$T/m/pytorch_model-00002-TP-common.safetensors" "$T/m" --force
quiet convert "$T/m" "$T/m2" -q
diff -r "$SMALL" "$T/m" && ls "$T"
