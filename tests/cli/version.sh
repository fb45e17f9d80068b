. tests/cli/helpers
run version | sed 's/^\(compiler\|kernels\|blas\|sandbox\|jansson\|libarchive\|libcrypto\|pcre2\|openmp\)\( *\).*/\1\2SOME/'
run version --json | sed 's/"\(compiler\|isa\|blas\|sandbox\|jansson\|libarchive\|libcrypto\|pcre2\|openmp\)": "[^"]*"/"\1": "SOME"/'
