#!/usr/bin/env bash
# Collect the files of a release in dist/release: wheels and sdists, the npm package, the chart, the CycloneDX documents
# and their checksums; the release notes go to dist/notes.md. Run `make sdk`, `make sbom` and scripts/release/chart.sh first.
#   usage: scripts/release/files.sh VERSION
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

out=dist/release
rm -rf "$out" dist/python
mkdir -p "$out"
SOURCE_DATE_EPOCH=$(git log -1 --pretty=%ct)
export SOURCE_DATE_EPOCH
.venv/bin/python -m hatchling build -d dist/python
cp dist/python/* dist/clients/* dist/sbom/*.cdx.json dist/chart/*.tgz "$out"
python3 scripts/release/release.py notes "$1" >dist/notes.md
(cd "$out" && sha256sum -- * >../SHA256SUMS && mv ../SHA256SUMS .)
ls -1 "$out"
