# What differs from run to run or from machine to machine, and nothing else.
s/^done in [0-9.]* s, .*\/s of input$/done in S s, RATE of input/
s/free where OUT will lie: [0-9.]* [kMGTP]*B$/free where OUT will lie: SPACE/
s/^encoding: about [0-9:]* at [0-9.]* [kMG]*B\/s /encoding: about TIME at RATE /
s/^speed  *[0-9.]* tokens\/s, [0-9.]* s$/speed        RATE, S s/
s/"\(seconds\|tokens_per_second\)": *[~0-9.e+-]*/"\1": S/
s/"peak_rss_bytes": [0-9]*/"peak_rss_bytes": N/
s/about [0-9:]* of arithmetic ([0-9]* GFLOP/about TIME of arithmetic (N GFLOP/
s/"headers_sha256": "[0-9a-f]\{64\}"/"headers_sha256": "HEX"/
s/, headers [0-9a-f]\{64\}$/, headers HEX/
# figures of all tensors: tests/cli/audit_figures.sh shows some
/^  "values": \[$/,/^  \],*$/c\  "values": [ ... ],
