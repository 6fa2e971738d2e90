"""What a release is called, and what its notes say.

release.py check TAG              the tag is the version of everything that is released, and the changelog has it
release.py chart-version VERSION  the version in the form of Semantic Versioning, which charts and npm take
release.py notes VERSION          its part of CHANGELOG.md
"""

import json
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def semantic(version):
    """Return a version of Python as one of Semantic Versioning: 0.1.0.dev0 becomes 0.1.0-dev.0."""
    found = re.fullmatch(r"(\d+\.\d+\.\d+)(?:\.?(a|b|rc|dev)(\d+))?", version)
    if found is None:
        sys.exit(f"{version} is no version of the form 1.2.3, 1.2.3rc1 or 1.2.3.dev0")
    return found[1] if found[2] is None else f"{found[1]}-{found[2]}.{found[3]}"


def versions():
    """Return the version of everything that is released, in the form of Semantic Versioning."""
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
    """Return the part of the changelog that is about a version."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    part = re.search(rf"^## \[{re.escape(version)}\].*?\n(.*?)(?=^## \[|\Z)", text, re.MULTILINE | re.DOTALL)
    if part is None or not part[1].strip():
        sys.exit(f"CHANGELOG.md has no part [{version}]")
    return part[1].strip() + "\n"


def check(tag):
    """End with a sentence unless everything is ready to be released under ``tag``."""
    if not tag.startswith("v"):
        sys.exit(f"{tag} is no tag like v1.2.3")
    wanted = semantic(tag.removeprefix("v"))
    wrong = [f"{place} says {found}" for place, found in versions().items() if found != wanted]
    if wrong:
        sys.exit(f"{tag} is not what is released: {'; '.join(wrong)}")
    notes(tag.removeprefix("v"))
    print(f"{tag}: {len(versions())} places agree, and the changelog tells what is new")


def main(words):
    """Do what is asked."""
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
