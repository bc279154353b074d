#!/bin/sh
# The steps of the flow. Put your own commands here; each may run again after a crash, so each may be repeated.
set -eu

case "$1" in
lint) echo "nothing to complain about" ;;
test) echo "all tests passed" ;;
build)
    mkdir -p out
    printf 'release %s\n' "$VERSION" > "out/release-$VERSION.txt"
    printf '{"file": "out/release-%s.txt", "bytes": %d}\n' "$VERSION" "$(wc -c < "out/release-$VERSION.txt")"
    ;;
publish)
    # The first attempt finds the depot closed.
    if [ ! -e out/knocked ]; then
        touch out/knocked
        echo "the depot is closed" >&2
        exit 75
    fi
    mkdir -p out/depot
    cp "$2" out/depot/
    echo "published $2"
    ;;
roll_back) rm -rf out/depot ;;
clean_up) rm -f out/knocked ;;
*)
    echo "unknown step: $1" >&2
    exit 2
    ;;
esac
