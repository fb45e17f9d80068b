#!/bin/sh
# Installs what a fresh Debian 12 lacks to build and test grokkit. Prints nothing when all is there.
set -eu

packages="gcc libc6-dev libjansson-dev libssl-dev libpcre2-dev zlib1g-dev
libmsgpack-dev libarchive-dev libopenblas0-pthread libcmocka-dev $*"
case ${CC:-cc} in
*clang*) packages="$packages clang libomp-dev" ;;
esac

missing=""
for package in $packages; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null 2>&1; then
    # not a Debian: let the compiler say what it does not find
    echo "grokkit needs a C compiler, jansson, OpenSSL, PCRE2, zlib, msgpack-c, libarchive, OpenBLAS, cmocka" >&2
    exit 0
fi
if [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo"
else
    echo "please install as root: apt-get install$missing" >&2
    exit 1
fi
echo "installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
$as_root apt-get update -qq >&2
# shellcheck disable=SC2086  # a list of words
$as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
