# a tar, a zip and a packed tar of a model do what its folder does; what is refused says why
. tests/cli/helpers
M=testdata/families/llama
tar --sort=name -cf "$T/m.tar" -C testdata/families llama qwen2/golden.json
tar --sort=name -czf "$T/m.tar.gz" -C testdata/families llama
run inspect "$T/m.tar"
run audit "$T/m.tar"
"$GROKKIT" hash "$M" >"$T/sums"
for archive in m.tar m.tar.gz; do
    run hash "$T/$archive" --check "$T/sums" | sed -n "1p;\$p"
done
quiet convert "$M" "$T/from-folder" -q
quiet convert "$T/m.tar" "$T/from-tar" --hash all -q
quiet convert "$T/m.tar.gz" "$T/from-gz" -q
for out in from-tar from-gz; do
    diff -r -x grokkit.json "$T/from-folder" "$T/$out" && echo "$out: the same files"
done

# an archive is an input: it may not be the output
run convert "$T/m.tar" "$T/m.tar" --force

# more than a little is unpacked only where somebody said so, and leaves nothing there
head -c 17000000 /dev/urandom >"$T/noise.txt"
tar --sort=name -czf "$T/big.tar.gz" -C testdata/families llama -C "$PWD/$T" noise.txt
mkdir "$T/spool"
run inspect "$T/big.tar.gz"
run inspect "$T/big.tar.gz" --spool "$T/absent"
run inspect "$T/big.tar.gz" --spool "$T/spool" | head -4
ls "$T/spool"

head -c 60000 "$T/m.tar" >"$T/cut.tar"
run inspect "$T/cut.tar"
: >"$T/empty.tar"
run inspect "$T/empty.tar"
printf 'Rar!\032\007\001' >"$T/m.rar"
run inspect "$T/m.rar"
