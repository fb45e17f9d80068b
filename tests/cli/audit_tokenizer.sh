. tests/cli/helpers
fresh
rm "$T/m/tokenizer.tok.json"
run audit "$T/m"
fresh
truncate -s 1000 "$T/m/tokenizer.tok.json"
run audit "$T/m"
fresh
sed -i 's/"vocab_size": 300/"vocab_size": 299/' "$T/m/config.json"
run audit "$T/m"
fresh
sed -i 's/"token":9}/"token":8}/' "$T/m/tokenizer.tok.json"
run audit "$T/m"
