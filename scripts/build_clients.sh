#!/usr/bin/env bash
# Generate the sources of the clients and build them: openapi/openapi.json from the sample application, the synchronous
# Python client from the asynchronous one, and the Python and TypeScript packages into dist/clients.
#   usage: [PYTHON=.venv/bin/python] scripts/build_clients.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=$(realpath --no-symlinks "${PYTHON:-.venv/bin/python}")
out=$PWD/dist/clients

"$python" -m goverse_cli openapi export sample-app/auction_house --out openapi/openapi.json
"$python" openapi/python/make_sync.py

rm -rf "$out"
mkdir -p "$out"
(cd openapi/python && "$python" -m hatchling build -d "$out")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r openapi/typescript/{package.json,package-lock.json,tsconfig.json,README.md,src} "$work"
(cd "$work" && npm ci --no-audit --no-fund --ignore-scripts --silent && npm run --silent build && npm pack --silent --pack-destination "$out" >/dev/null)
ls -1 "$out"
