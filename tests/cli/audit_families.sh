# tensors against the config, whatever the family
. tests/cli/helpers
F=testdata/families
for model in grok1 llama llama-tied mistral qwen2; do
    run audit "$F/$model"
    "$GROKKIT" inspect "$F/$model" | grep architecture
done
change() { # change MODEL SED: a copy with another config
    rm -rf "$T/m"
    cp -r "$F/$1" "$T/m"
    sed -i "$2" "$T/m/config.json"
    run audit "$T/m"
}
change llama 's/"num_hidden_layers": 2/"num_hidden_layers": 3/'
change llama 's/"intermediate_size": 80/"intermediate_size": 96/'
change llama-tied 's/"tie_word_embeddings": true/"tie_word_embeddings": false/'
change llama-tied 's/"attention_bias": true/"attention_bias": false/'
change qwen2 's/Qwen2ForCausalLM/LlamaForCausalLM/'
change llama 's/LlamaForCausalLM/Qwen2ForCausalLM/'
change grok1 's/"num_experts": 4/"num_experts": 5/'
change grok1 's/"intermediate_size": 40/"intermediate_size": 44/'
change grok1 's/"vocab_size": 97/"vocab_size": "97"/'
