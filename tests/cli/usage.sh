. tests/cli/helpers
run
run frobnicate
run inspct "$SMALL"
run compar a b
run audit
run audit a b
run convert a
run compare a
run version extra
run inspect --tensor x
run inspect --frobnicate "$SMALL"
run inspect -z "$SMALL"
run inspect "$SMALL" --tensors
run inspect "$SMALL" --tensors=
run inspect "$SMALL" --json=1
run inspect "$SMALL" --scheme int4
run audit "$SMALL" --decode
run version -t 0
run version --threads 9999
run version -tx
run version --progress sometimes
run version --memory 10XB
run version --memory -1
run version --memory 0
run version --memory 99999999999999999999
run convert a b --max-shard-size 10Q
run convert a b --dtype bf8
run eval a --text b --windows 0
run eval a --text b --windows many
run eval a --text b --ctx 1
run eval a --text b --preset sgl
run eval a
run eval a --text b --token-ids c
