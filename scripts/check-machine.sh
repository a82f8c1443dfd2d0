#!/usr/bin/env bash
# Say what this machine lacks before anything is installed.
set -u
python=${1:-python3}
missing=()
[ "$(uname -sm)" = "Linux x86_64" ] || missing+=("Linux on x86-64: this is $(uname -sm)")
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null ||
    missing+=("Python 3.11 or 3.12: name one with 'make PYTHON=python3.12 …' ($python is $("$python" --version 2>&1))")
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=("Python's venv module (Debian: apt-get install python3-venv)")
command -v c++ >/dev/null || command -v g++ >/dev/null || missing+=("a C++ compiler (Debian: apt-get install g++)")
"$python" -c 'import sysconfig, pathlib, sys; sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").is_file())' 2>/dev/null ||
    missing+=("Python's headers (Debian: apt-get install python3-dev)")
if [ ${#missing[@]} -gt 0 ]; then
    echo "This machine lacks:" >&2
    printf '  - %s\n' "${missing[@]}" >&2
    exit 1
fi
