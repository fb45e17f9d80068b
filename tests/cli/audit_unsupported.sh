# what is in order, but not read, is no malformed file: a GGUF of version 1, a big-endian one
. tests/cli/helpers
for version in '\001\000\000\000' '\000\000\000\003'; do
    cp testdata/gguf/llama.gguf "$T/m.gguf"
    # shellcheck disable=SC2059  # escapes
    printf "$version" | poke "$T/m.gguf" 4
    run inspect "$T/m.gguf"
    run audit "$T/m.gguf"
done
true
