. tests/cli/helpers
cat >"$T/recipe" <<'R'
# the last layer stays, the rest is int8

layers\.1\..*(proj|w[123])$ = keep
  default  =  int8
R
run quantize "$TINY" "$T/out" -n -t2 --recipe "$T/recipe"
# rules on the line come first
run quantize "$TINY" "$T/out" -n -t2 --recipe "$T/recipe" --rule 'layers\.1\..*mlp=int4-g64' | grep 'mlp\|->'
printf 'one = keep\ntwo\n' >"$T/recipe"
run quantize "$TINY" "$T/out" -n --recipe "$T/recipe"
printf 'one = keep\n# two\nthree = int3\n' >"$T/recipe"
run quantize "$TINY" "$T/out" -n --recipe "$T/recipe" --json
printf 'one( = keep\n' >"$T/recipe"
run quantize "$TINY" "$T/out" -n --recipe "$T/recipe"
run quantize "$TINY" "$T/out" -n --recipe "$T"
