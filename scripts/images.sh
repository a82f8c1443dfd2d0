#!/usr/bin/env bash
# Build the product's images with docker, podman or buildah, whichever works here: `scripts/images.sh [operator|inference|trainer …]`.
#   BASE     an image with Python 3.11 or 3.12 on Debian; by digest in production. Where none is named and no registry
#            can be reached, one is made from Debian's packages.
#   VARIANT  cpu (the default, as the quickstart) or cuda
#   PREFIX   what comes before an image's name, registry included: docker.io/rehearsal
set -euo pipefail
cd "$(dirname "$0")/.."
names=("$@")
[ $# -gt 0 ] || names=(operator inference trainer)
prefix=${PREFIX:-docker.io/rehearsal}
variant=${VARIANT:-cpu}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
usual=$(sed -n 's/^ARG BASE=//p' images/operator/Dockerfile)
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot} # works without a runtime, in a container too
export DOCKER_BUILDKIT=1                              # docker's older builder knows no mounts

working() {
    for tool in docker podman buildah; do
        if command -v "$tool" >/dev/null && "$tool" info >/dev/null 2>&1; then echo "$tool" && return; fi
    done
    echo "Images are built by docker, podman or buildah, and none of them works here (Debian: apt-get install buildah)" >&2
    return 1
}

base() {
    if [ -n "${BASE:-}" ]; then echo "$BASE" && return; fi
    if "$tool" inspect "$usual" >/dev/null 2>&1 || "$tool" pull --quiet "$usual" >&2; then
        echo "$usual"
    else
        echo "$usual cannot be pulled, so the base is made of Debian's packages. Name another by BASE=…" >&2
        scripts/debian-base.sh "$tool"
    fi
}

tool=$(working)
options=(--build-arg BASE="$(base)" --build-arg VARIANT="$variant" --build-arg VERSION="$version")
[ "$tool" != buildah ] || options+=(--layers)
# Where traffic is inspected, the machine's own certificates are what the downloads must trust.
[ ! -r "${SSL_CERT_FILE:-}" ] || options+=(--secret "id=certificates,src=$SSL_CERT_FILE")
for name in "${names[@]}"; do
    echo "Building $prefix/$name:$version ($variant) with $tool" >&2
    "$tool" build "${options[@]}" --file "images/$name/Dockerfile" --tag "$prefix/$name:$version" .
done
