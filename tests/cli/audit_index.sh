. tests/cli/helpers
quiet convert "$SMALL" "$T/hf" --max-shard-size 100KB -q
cp -r "$T/hf" "$T/m"
rm "$T/m/model-00002-of-00002.safetensors"
run audit "$T/m"
rm -r "$T/m" && cp -r "$T/hf" "$T/m"
sed -i 's/"total_size": *[0-9]*/"total_size": 7/; s/"model.norm.weight": "model-0000./"model.norm.weight": "model-00001/' \
    "$T/m/model.safetensors.index.json"
sed -i 's/model-00001-of-00002.safetensors/..\/x.safetensors/' "$T/m/model.safetensors.index.json"
run audit "$T/m" | sed -n '1,4p;$p'
rm -r "$T/m" && cp -r "$T/hf" "$T/m"
echo '{' >"$T/m/model.safetensors.index.json"
run audit "$T/m"
