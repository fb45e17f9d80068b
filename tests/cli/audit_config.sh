. tests/cli/helpers
fresh
rm "$T/m/config.json"
run audit "$T/m"
fresh
sed -i 's/"hidden_size": 64/"hidden_size": 96/' "$T/m/config.json"
run audit "$T/m"
fresh
sed -i 's/"num_hidden_layers": 1/"num_hidden_layers": 2/' "$T/m/config.json"
run audit "$T/m"
fresh
sed -i 's/"hidden_size": 64/"hidden_size": "64"/' "$T/m/config.json"
run audit "$T/m"
fresh
printf '}' >"$T/m/config.json"
run audit "$T/m"
