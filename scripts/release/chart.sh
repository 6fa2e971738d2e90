#!/usr/bin/env bash
# Package the chart of a release into dist/chart, with the release's images as defaults. With `push`, also push it to an
# OCI registry and sign it.
#   usage: scripts/release/chart.sh VERSION REGISTRY [push]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=$1
registry=$2
chart_version=$(python3 scripts/release/release.py chart-version "$version")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r helm/goverse "$work/goverse"
for image in gate tools; do
    sed -i "s#^  $image: goverse-$image:.*#  $image: $registry/goverse-$image:$version#" "$work/goverse/values.yaml"
    grep -q "^  $image: $registry/goverse-$image:$version\$" "$work/goverse/values.yaml"
done
rm -rf dist/chart
mkdir -p dist/chart
helm lint --strict --set app.image=lint:1 "$work/goverse"
helm package --version "$chart_version" --app-version "$version" --destination dist/chart "$work/goverse"

[ "${3:-}" = push ] || exit 0
pushed=$(helm push "dist/chart/goverse-$chart_version.tgz" "oci://$registry/charts" 2>&1)
echo "$pushed"
digest=$(sed -n 's/^Digest: //p' <<<"$pushed")
[ -n "$digest" ]
cosign sign --yes "$registry/charts/goverse@$digest"
