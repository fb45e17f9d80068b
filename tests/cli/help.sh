. tests/cli/helpers
run --help
for command in inspect audit hash convert quantize calibrate eval compare tokenize version; do
    run $command --help
done
