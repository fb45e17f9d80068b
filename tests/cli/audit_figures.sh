# what values come to: the tensor whose scale was lost, its figures in JSON, the page
. tests/cli/helpers
cp -r build/models/small-hf "$T/m"
run audit "$T/m" --json | grep -A15 '"model.layers.1.mlp.up_proj.weight"'
run audit "$T/m" --html "$T/page.html"
grep -o '<h2>[^<]*\|<figcaption>[^<]*\|<th[^<]*' "$T/page.html"
grep -c '<rect' "$T/page.html"
