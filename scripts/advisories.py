"""Ask whether anything that is shipped has a known vulnerability: `advisories.py [FILE...]`, CycloneDX documents.

Exit code 0: asked, and nothing known. 1: something is known. 2: it could not be asked, so nothing is known.

pip-audit says "no known vulnerabilities" and ends with 0 where the registry knows nothing of advisories, as mirrors do.
So it is asked first about a release whose vulnerabilities are public; only who answers that is believed. Runs in
the environment of scripts/chain_tools.sh.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PIP_AUDIT = Path(sys.executable).with_name("pip-audit")
KNOWN_TO_BE_VULNERABLE = "jinja2==2.10"
ASKED_FOR_S = 600


def ask(requirements):
    """Return what is known of these `name==version` lines, or a sentence that says why nothing could be asked."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{line}\n" for line in requirements))
        file.flush()
        done = subprocess.run(
            [PIP_AUDIT, "--strict", "--disable-pip", "--no-deps", "--format", "json", "--requirement", file.name],
            capture_output=True,
            text=True,
            timeout=ASKED_FOR_S,
            check=False,
        )
    try:
        return json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return (done.stderr.strip().splitlines() or [f"pip-audit ended with {done.returncode}"])[-1]


def vulnerabilities(answer):
    """Return lines for what is known."""
    return [
        f"{package['name']} {package['version']}: {found['id']}, repaired in {', '.join(found['fix_versions']) or 'no'}"
        for package in answer
        for found in package.get("vulns", [])
    ]


def shipped(files):
    """Return the packages of all documents: those of Python, and how many there are of npm."""
    python, npm = set(), 0
    for file in files:
        for component in json.loads(file.read_text(encoding="utf-8")).get("components", []):
            if component.get("purl", "").startswith("pkg:pypi/"):
                python.add(f"{component['name']}=={component['version']}")
            else:
                npm += 1
    return sorted(python), npm


def unasked(reason):
    """Say that nothing is known."""
    print(f"The service of advisories could not be asked, so nothing was checked: {reason}", file=sys.stderr)
    return 2


def main(files):
    """Ask about all of it."""
    python, npm = shipped(files)
    if not python:
        return unasked("there are no documents with packages; run make sbom")
    if npm:
        return unasked(f"{npm} packages are not Python's; only those are asked about here")
    probe = ask([KNOWN_TO_BE_VULNERABLE])
    if isinstance(probe, str) or not vulnerabilities(probe):
        reason = probe if isinstance(probe, str) else "it knows of no package that is vulnerable"
        return unasked(f"asked about {KNOWN_TO_BE_VULNERABLE}: {reason}")
    answer = ask(python)
    if isinstance(answer, str):
        return unasked(answer)
    found = vulnerabilities(answer)
    print("\n".join(found) or f"{len(python)} packages, and no advisory about any of them")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]] or sorted((ROOT / "dist" / "sbom").glob("*.cdx.json"))))
