# the page: no script, nothing from elsewhere, a plot and a table of everything
. tests/cli/helpers
quiet quantize "$TINY" "$T/q" --scheme int4-g64 --method rtn -q
quiet eval "$T/q" --base "$TINY" --also "$TINY" --local --text "$TEXT" --ctx 64 --windows 4 -q --html "$T/page.html"
grep -o '<h2>[^<]*\|<figcaption>[^<]*' "$T/page.html"
for word in '<script' 'http' 'src=' '@import' 'url('; do printf '%s %s\n' "$(grep -c "$word" "$T/page.html")" "$word"; done
grep -o '<dt>[^<]*' "$T/page.html"
grep -c '<mark>' "$T/page.html"
grep -c 'prefers-color-scheme' "$T/page.html"
# a name is text, whatever it says
cp -r "$TINY" "$T/<script>alert(1)"
quiet eval "$T/<script>alert(1)" --text "$TEXT" --ctx 64 --windows 1 -q --html "$T/page.html"
grep -c '<script' "$T/page.html"
