# each preset is another function, each switch overrides it
. tests/cli/helpers
try() { printf '%s: ' "$*"; "$GROKKIT" eval "$TINY" --text "$TEXT" --ctx 96 --windows 1 --protocol paper -q "$@" | round 5 | sed -n 's/^perplexity *//p'; }
try
try --preset sglang
try --preset vllm
try --preset LLAMA.CPP
try --preset llama.cpp-plain
try --preset llama_cpp
try --gelu erf
try --gelu tanh
try --rope original
try --rope yarn
try --rope-magnitude on
try --renorm on
try --router-cap off
try --temperature off
try --final-order scale-cap
try --final-order cap-scale
try --preset vllm --final-order scale-cap
run eval "$TINY" --text "$TEXT" --ctx 32 --windows 1 --preset vllm --json -q | grep preset
