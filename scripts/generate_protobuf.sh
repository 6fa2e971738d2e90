#!/usr/bin/env bash
# Write the Python modules and type stubs of every .proto file under shared/, beside it or below another folder.
# The results are committed; a test compares them with their sources.
#   usage: [PYTHON=.venv/bin/python] scripts/generate_protobuf.sh [FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$(command -v "${PYTHON:-python3}")
target=${1:-shared}
mapfile -t sources < <(cd shared && find . -name '*.proto' -printf '%P\n' | sort)
# protoc looks for the stub writer by its name; it is installed beside the interpreter.
PATH="$(dirname "$python"):$PATH" "$python" -m grpc_tools.protoc \
    --proto_path=shared --python_out="$target" --mypy_out="quiet:$target" "${sources[@]}"
