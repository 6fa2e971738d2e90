#!/usr/bin/env bash
# Create the virtual environment VENV and install TARGET (for example `.[dev]`) into it, editable, with the
# versions of constraints.txt. Uses uv if it is installed, venv and pip otherwise.
#   usage: [PYTHON=python3.12] scripts/environment.sh VENV TARGET
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=$1
target=$2
python=${PYTHON:-python3}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "'$python' was not found. GoVerse needs Python 3.11 to 3.14 (set PYTHON=...)."
"$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' ||
    fail "'$python' is $("$python" --version). GoVerse needs Python 3.11 to 3.14 (set PYTHON=...)."

if command -v uv >/dev/null; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "$(command -v "$python")" "$venv"
    echo "Installing $target into $venv with uv"
    uv pip install --quiet --python "$venv/bin/python" --constraint constraints.txt --editable "$target"
    exit
fi

if ! [ -x "$venv/bin/pip" ]; then
    # Debian packages ensurepip, which venv needs to install pip, separately.
    "$python" -c 'import ensurepip' 2>/dev/null || scripts/install_system.sh python3-venv
    "$python" -m venv "$venv"
fi
echo "Installing $target into $venv with pip"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable "$target"
