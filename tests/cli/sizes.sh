# SIZE: bytes, K M G T of 1024, KB MB GB TB of 1000, any letter case, fractions
. tests/cli/helpers
for size in 45MiB 45mib 45M 50MB 50mb 0.05GB 47185920 47185920B '46080 KiB'; do
    "$GROKKIT" quantize "$SMALL" "$T/out" -n -q -t2 --memory "$size" >"$T/plan" && echo "$size: $(grep -c bits "$T/plan")"
done
run convert "$SMALL" "$T/out" -n -t2 --memory 40MiB
run convert "$SMALL" "$T/out" -n -t2 --memory 1
