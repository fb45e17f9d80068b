# a config.json that lacks one of the keys which name the model, or names one that nobody knows
. tests/cli/helpers
F=testdata/families
change() { # change MODEL SED: a copy with another config
    rm -rf "$T/m"
    cp -r "$F/$1" "$T/m"
    tr '\n' ' ' <"$F/$1/config.json" | sed "$2" >"$T/m/config.json"
    run audit "$T/m"
    quiet convert "$T/m" "$T/out.gguf" --to gguf --dry-run -q
    echo 1 2 3 4 >"$T/ids"
    "$GROKKIT" eval "$T/m" --token-ids "$T/ids" -q >"$T/page"
    echo "eval: exit $?"
}
for model in grok1 llama mistral qwen2; do
    change $model 's/"architectures": \[[^]]*\],//'
done
change llama 's/"model_type": "llama",//'
change llama 's/"architectures": \[[^]]*\]/"architectures": null/; s/"model_type": "llama"/"model_type": "phi9"/'
change llama 's/"architectures": \[[^]]*\],//; s/"model_type": "llama",//'
change llama 's/\[ *"LlamaForCausalLM" *\]/"LlamaForCausalLM"/'
change llama 's/LlamaForCausalLM/FooForCausalLM/'
