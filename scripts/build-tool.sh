#!/usr/bin/env bash
# Build a Go program the tests use, unless it is there already, and print its path: `scripts/build-tool.sh tests/tools/NAME`.
# The folder is a module with a main package, or with one `tool` in its go.mod; a file `ldflags` in it adds linker flags.
# A build is kept by the digest of its inputs. One build runs at a time; others wait for it, and find it done.
set -euo pipefail
cd "$(dirname "$0")/.."
module=${1%/}
name=$(basename "$module")
go=$PWD/.cache/go/go/bin/go

digest() { find "$module" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum scripts/go.txt scripts/build-tool.sh | sha256sum | cut -c-16; }
built=$PWD/.cache/tools/$(digest)/$name

build() {
    [ -x "$go" ] || { echo "No Go to build $name with: run 'make tools' once" >&2; return 1; }
    echo "Building $name (once; minutes for a control plane)" >&2
    local package=tool partial=$built.$$
    compgen -G "$module/*.go" >/dev/null && package=.
    mkdir -p "$(dirname "$built")"
    env GOTOOLCHAIN=local GOWORK=off GOFLAGS= CGO_ENABLED=0 nice \
        "$go" -C "$module" build -mod=readonly -trimpath -buildvcs=false \
        -ldflags "-s -w $(cat "$module/ldflags" 2>/dev/null || true)" -o "$partial" "$package" >&2 || { rm -f "$partial"; return 1; }
    mv "$partial" "$built"
}

if [ ! -x "$built" ]; then
    mkdir -p .cache/tools
    exec {lock}>.cache/tools/.lock
    flock "$lock"
    [ -x "$built" ] || build
fi
echo "$built"
