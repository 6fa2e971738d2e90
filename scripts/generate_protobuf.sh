#!/usr/bin/env bash
# Generate the Python modules and type stubs of all .proto files under shared/, beside them or in another folder.
# The generated files are committed; a test checks that they match their sources.
#   usage: [PYTHON=.venv/bin/python] scripts/generate_protobuf.sh [FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$(command -v "${PYTHON:-python3}")
target=${1:-shared}
mapfile -t sources < <(cd shared && find . -name '*.proto' -printf '%P\n' | sort)
# protoc finds the stub generator (protoc-gen-mypy) on the path; it is installed beside the interpreter.
PATH="$(dirname "$python"):$PATH" "$python" -m grpc_tools.protoc \
    --proto_path=shared --python_out="$target" --mypy_out="quiet:$target" "${sources[@]}"
