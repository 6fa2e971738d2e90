"""Version checks and release notes.

release.py check TAG              check that the tag matches all version numbers and has an entry in the changelog
release.py chart-version VERSION  print the version as Semantic Versioning, for the chart and npm
release.py notes VERSION          print the version's part of CHANGELOG.md
"""

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def semantic(version):
    """Convert a Python version to Semantic Versioning: 0.1.0.dev0 becomes 0.1.0-dev.0."""
    found = re.fullmatch(r"(\d+\.\d+\.\d+)(?:\.?(a|b|rc|dev)(\d+))?", version)
    if found is None:
        sys.exit(f"{version} is not a valid version; the form is 1.2.3, 1.2.3rc1 or 1.2.3.dev0")
    return found[1] if found[2] is None else f"{found[1]}-{found[2]}.{found[3]}"


def versions():
    """Return every version number in the repository, as Semantic Versioning."""
    python = {
        name: tomllib.loads((ROOT / name).read_text(encoding="utf-8"))["project"]["version"]
        for name in ("pyproject.toml", "openapi/python/pyproject.toml")
    }
    chart = (ROOT / "helm/goverse/Chart.yaml").read_text(encoding="utf-8")
    found = {name: semantic(version) for name, version in python.items()}
    found["openapi/typescript/package.json"] = json.loads(
        (ROOT / "openapi/typescript/package.json").read_text(encoding="utf-8")
    )["version"]
    found["helm/goverse/Chart.yaml, version"] = re.search(r"^version: (\S+)", chart, re.MULTILINE)[1]
    found["helm/goverse/Chart.yaml, appVersion"] = semantic(re.search(r"^appVersion: (\S+)", chart, re.MULTILINE)[1])
    return found


def notes(version):
    """Return the changelog's part about a version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    part = re.search(rf"^## \[{re.escape(version)}\].*?\n(.*?)(?=^## \[|\Z)", text, re.MULTILINE | re.DOTALL)
    if part is None or not part[1].strip():
        sys.exit(f"CHANGELOG.md has no section [{version}]")
    return part[1].strip() + "\n"


def check(tag):
    """Exit with an error unless all version numbers and the changelog match ``tag``."""
    if not tag.startswith("v"):
        sys.exit(f"{tag} is not a valid tag; the form is v1.2.3")
    wanted = semantic(tag.removeprefix("v"))
    wrong = [f"{place} says {found}" for place, found in versions().items() if found != wanted]
    if wrong:
        sys.exit(f"{tag} does not match: {'; '.join(wrong)}")
    notes(tag.removeprefix("v"))
    print(f"{tag}: all {len(versions())} version numbers match, and the changelog has an entry")


def main(words):
    """Run one command."""
    match words:
        case ["check", tag]:
            check(tag)
        case ["chart-version", version]:
            print(semantic(version))
        case ["notes", version]:
            print(notes(version), end="")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
