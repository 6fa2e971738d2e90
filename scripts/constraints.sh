#!/usr/bin/env bash
# Write constraints.txt: the exact versions that a fresh resolution of all extras selects today.
# Run it after changing dependencies, or to update them; then run `make check`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade pip
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check '.[dev]'
{
    echo "# The versions that are installed and tested together. Written by scripts/constraints.sh; do not edit."
    "$work/venv/bin/python" -m pip freeze --exclude goverse --exclude pip --exclude setuptools
} >"$work/constraints.txt"
mv "$work/constraints.txt" constraints.txt
