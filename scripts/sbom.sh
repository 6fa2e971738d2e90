#!/usr/bin/env bash
# Write CycloneDX documents to dist/sbom: one for the Python distribution with all installed dependencies, and one for
# each client. The output is reproducible: the same tree and constraints give the same bytes.
#   usage: scripts/sbom.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=$(realpath --no-symlinks "${CHAIN_TOOLS:-.chain-tools}")
out=dist/sbom
rm -rf "$out"
mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Describe an environment that contains only the distribution and its dependencies, without pip and setuptools.
describe() { # NAME FOLDER
    "$tools/bin/python" -m venv --without-pip "$work/$1"
    "$tools/bin/python" -m pip --python "$work/$1" install --quiet --disable-pip-version-check \
        --constraint constraints.txt "$2"
    "$tools/bin/cyclonedx-py" environment --pyproject "$2/pyproject.toml" --output-reproducible --validate \
        --output-file "$work/$1.json" "$work/$1/bin/python"
}

describe goverse .
describe goverse-client openapi/python
(cd openapi/typescript && npm sbom --omit dev --package-lock-only --sbom-format cyclonedx) \
    >"$work/goverse-client-typescript.json"
"$tools/bin/python" scripts/sbom_documents.py "$out" "$work"/*.json
ls -1 "$out"
