#!/bin/sh
# Bring packages of uv.lock into an image's environment, hashes checked and bytecode compiled, and leave what is there:
# `sync.sh --extra NAME …`, options of `uv sync`. WITHOUT names packages that stay out; an image without GPUs has no Triton.
set -eu
export UV_PROJECT_ENVIRONMENT=/opt/venv UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_NO_PROGRESS=1
export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt UV_CACHE_DIR=/var/cache/uv
[ "${VARIANT:-cpu}" = cuda ] || WITHOUT="${WITHOUT:-} triton"
for package in ${WITHOUT:-}; do
    set -- "$@" --no-install-package "$package"
done
exec /build/uv/bin/uv sync --project /build --frozen --no-dev --no-install-project --inexact "$@"
