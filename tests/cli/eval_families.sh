# the forward pass of other families: presets, switches that have nothing to choose, no tokenizer
. tests/cli/helpers
F=testdata/families
echo 80 63 30 1 2 3 4 5 >"$T/ids"
for model in grok1 llama llama-tied mistral qwen2; do
    run eval "$F/$model" --token-ids "$T/ids" -q | round
done
run eval "$F/grok1" --token-ids "$T/ids" -q --preset vllm | round
run eval "$F/llama" --token-ids "$T/ids" -q --json --base "$F/llama" |
    grep -E '"(preset|experts|top1|router_agreement)"'
run eval "$F/llama" --token-ids "$T/ids" -q --base "$F/llama" | round
run eval "$F/llama" --token-ids "$T/ids" -q --html "$T/page.html" >/dev/null
grep -c "Use of the experts" "$T/page.html"
run eval "$F/llama" --token-ids "$T/ids" -q --preset grok1
run eval "$F/qwen2" --token-ids "$T/ids" -q --renorm on
run eval "$F/llama" --token-ids "$T/ids" -q --base "$F/mistral"
run eval "$F/llama" --text "$TEXT"
run eval "$F/llama" --token-ids "$T/ids" -q --memory 1M -t 1 | round
cp -r "$F/llama" "$T/m"
sed -i 's/LlamaForCausalLM/GemmaForCausalLM/' "$T/m/config.json"
run eval "$T/m" --token-ids "$T/ids"
run inspect "$T/m" | grep architecture
