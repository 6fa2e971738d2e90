#!/usr/bin/env bash
# `load` builds one image for the architecture of this machine and loads it into Docker. `publish` builds all images for
# amd64 and arm64, pushes them with provenance, signs them with cosign (keyless), and attests the SBOM of dist/sbom.
#   usage: scripts/release/images.sh load ROLE IMAGE        ROLE: gate, node, cli, sample-app (NODE=IMAGE names its base)
#          scripts/release/images.sh publish REGISTRY VERSION
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

revision=$(git rev-parse HEAD)

# The build context of the sample application is its own folder; that of the other images is the repository root.
load() { # ROLE IMAGE
    local context=. arguments=(--build-arg "REVISION=$revision")
    [ "$1" != sample-app ] || context=sample-app
    [ "$1" != sample-app ] || arguments=(--build-arg "NODE=$NODE")
    docker buildx build --load --file "$1/Dockerfile" --tag "$2" "${arguments[@]}" "$context"
}

publish() { # REGISTRY VERSION
    local role image digest metadata
    metadata=$(mktemp)
    trap 'rm -f "$metadata"' EXIT
    for role in gate node cli; do
        image=$1/goverse-${role/cli/tools}
        docker buildx build --platform linux/amd64,linux/arm64 --push --provenance mode=max --sbom true \
            --file "$role/Dockerfile" --tag "$image:$2" --metadata-file "$metadata" \
            --build-arg "VERSION=$2" --build-arg "REVISION=$revision" .
        digest=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["containerimage.digest"])' "$metadata")
        cosign sign --yes "$image@$digest"
        cosign attest --yes --type cyclonedx --predicate dist/sbom/goverse.cdx.json "$image@$digest"
        echo "$image@$digest"
    done
}

case ${1:-} in
load) load "$2" "$3" ;;
publish) publish "$2" "$3" ;;
*)
    grep '^# *usage:\|^#   *scripts' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
