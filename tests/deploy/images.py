"""Images of the tests, built from the unchanged Dockerfiles with buildah, as a user builds them.

The base image is built from Debian packages (``mmdebstrap``) instead of being pulled, with the same version of Python
as the default base. etcd and PostgreSQL come from Debian too, in images that behave like those of the chart. The tag of
an image is a digest of all its inputs, so an existing image is reused, and never for another tree.
"""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

from tests.deploy.engine import PREFIX, Engine
from tests.tree import ROOT, repository_files

SUITE = "trixie"
PATHS = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The root file systems: runtime base, build base, and the stores.
ROOTS = {
    "base": ["python3", "ca-certificates"],
    "build-base": ["python3-venv", "ca-certificates"],
    "stores": ["postgresql-17", "etcd-server", "etcd-client"],
}
STORES = ROOT / "tests" / "deploy" / "stores"
CONTEXT = ["LICENSE", "README.md", "constraints.txt", "pyproject.toml", "scripts/image_requirements.py"]
FOLDERS = {
    "gate": ["shared/goverse", "gate/goverse_gate", "cli/goverse_cli"],
    "node": ["shared/goverse", "node/goverse_node", "gate/goverse_gate", "cli/goverse_cli"],
    "tools": ["shared/goverse", "node/goverse_node", "gate/goverse_gate", "cli/goverse_cli"],
}


def build_all(engine: Engine) -> dict[str, str]:
    """Build missing images, and return the references of all images by name."""
    made = {name: _root(engine, name, packages) for name, packages in ROOTS.items()}
    for name in ("etcd", "postgres"):
        made[name] = _store(engine, name, made["stores"])
    for name, dockerfile in {"gate": "gate", "node": "node", "tools": "cli"}.items():
        made[name] = _ours(engine, name, ROOT / dockerfile / "Dockerfile", made)
    made["app"] = _application(engine, made["node"])
    _forget_older(engine, made)
    return made


def _root(engine: Engine, name: str, packages: list[str]) -> str:
    image = f"{PREFIX}/{name}:{_digest([SUITE, *packages])}"
    if not engine.has(image):
        archive = engine.scratch / f"{name}.tar"
        wanted = f"--include={','.join(packages)}"
        engine.run("mmdebstrap", "--quiet", "--variant=minbase", wanted, SUITE, archive)
        engine.run("podman", "import", "--quiet", f"--change=ENV {PATHS}", archive, image)
        archive.unlink()
    return image


def _ours(engine: Engine, name: str, dockerfile: Path, made: dict[str, str]) -> str:
    sources = [ROOT / path for path in CONTEXT]
    sources += [path for folder in FOLDERS[name] for path in repository_files() if path.is_relative_to(ROOT / folder)]
    known = [made["base"], made["build-base"], *_contents([dockerfile, ROOT / ".dockerignore", *sources])]
    arguments = {"BASE": made["base"], "BUILD_BASE": made["build-base"], "REVISION": _revision()}
    return _build(engine, f"{PREFIX}/{name}:{_digest(known)}", dockerfile, ROOT, arguments)


def _application(engine: Engine, node: str) -> str:
    folder = ROOT / "sample-app"
    known = [node, *_contents([path for path in repository_files() if path.is_relative_to(folder)])]
    return _build(engine, f"{PREFIX}/app:{_digest(known)}", folder / "Dockerfile", folder, {"NODE": node})


def _store(engine: Engine, name: str, stores: str) -> str:
    folder = STORES / name
    known = [stores, *_contents(sorted(path for path in folder.iterdir() if path.is_file()))]
    return _build(engine, f"{PREFIX}/{name}:{_digest(known)}", folder / "Dockerfile", folder, {"BASE": stores})


def _build(engine: Engine, image: str, dockerfile: Path, context: Path, arguments: dict[str, str]) -> str:
    """Build one image. pip gets the machine's CA certificates, because a package mirror may need them."""
    if not engine.has(image):
        engine.run(
            *("buildah", "build", "--isolation=chroot", "--pull-never", "--network=host", "--layers"),
            *("--format=docker", "--timestamp=315532800", "--volume=/etc/ssl/certs:/etc/ssl/certs:ro"),
            *(f"--build-arg={name}={value}" for name, value in arguments.items()),
            *(f"--file={dockerfile}", f"--tag={image}", context),
        )
    return image


def _forget_older(engine: Engine, made: dict[str, str]) -> None:
    """Remove the images of other trees; layers that a later build can reuse are kept."""
    listed = engine.run("podman", "images", "--format={{.Repository}}:{{.Tag}}", f"--filter=reference={PREFIX}/*")
    for image in set(listed.split()) - set(made.values()):
        engine.run("podman", "rmi", "--force", "--no-prune", image)


def _contents(paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} {path.stat().st_mode & 0o111:o} {hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in paths
    ]


def _digest(known: list[str]) -> str:
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


@cache
def _revision() -> str:
    ran = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return ran.stdout.strip() or "unknown"
