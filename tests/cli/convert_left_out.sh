# what of a directory is not in OUT: folders, and code that asks for tensors by their old names
. tests/cli/helpers
M=$T/m
cp -r testdata/grok1-hf/torch-names "$M"
sed -i '1s/{/{ "auto_map": {"AutoConfig": "configuration_grok1.Grok1Config"},/' "$M/config.json"
for file in modeling_grok1.py configuration_grok1.py tokenization_grok1.py README.md; do
    echo "$file" >"$M/$file"
done
mkdir "$M/assets" "$M/.cache"
run convert "$M" "$T/out" | tail -n 5 | sed '$d'
ls -A "$T/out"
grep -c auto_map "$M/config.json" "$T/out/config.json" | sed "s|$T/||"
run convert "$M" "$T/json" --json -q | sed -n '/"notes"/,/\]/p'
# the names that are known already: code stays
run convert "$T/out" "$T/again" -q | grep '^note'
cp "$M/modeling_grok1.py" "$T/out/"
run convert "$T/out" "$T/again" --force -q | grep '^note'
ls "$T/again" | grep py
# a GGUF holds no other files
run convert "$M" "$T/m.gguf" --dry-run -q | grep '^note'
# where the weights are in a folder, that is no folder left out
mkdir "$T/leaves" "$T/leaves/more"
cp -r testdata/grok1-tiny/ckpt-0 "$T/leaves/ckpt-0"
run convert "$T/leaves" "$T/from-leaves" -q | grep '^note'
