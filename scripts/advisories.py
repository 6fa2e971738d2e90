"""Check shipped dependencies for known vulnerabilities: `advisories.py [FILE...]`, with CycloneDX documents.

Exit codes: 0 no known vulnerability, 1 a known vulnerability, 2 the check could not be done.

pip-audit reports "no known vulnerabilities" and exits with 0 if the package index has no advisories, as is the case for
mirrors. So this program first queries a release with published vulnerabilities, and trusts the service only if it
reports them. Runs in the environment of scripts/chain_tools.sh.
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
    """Return pip-audit's result for `name==version` lines, or an error message if the query failed."""
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
        return (done.stderr.strip().splitlines() or [f"pip-audit exited with code {done.returncode}"])[-1]


def vulnerabilities(answer):
    """Return one line for each known vulnerability."""
    return [
        f"{package['name']} {package['version']}: {found['id']}, fixed in: {', '.join(found['fix_versions']) or 'none'}"
        for package in answer
        for found in package.get("vulns", [])
    ]


def shipped(files):
    """Return the Python packages of all documents, and the number of npm packages."""
    python, npm = set(), 0
    for file in files:
        for component in json.loads(file.read_text(encoding="utf-8")).get("components", []):
            if component.get("purl", "").startswith("pkg:pypi/"):
                python.add(f"{component['name']}=={component['version']}")
            else:
                npm += 1
    return sorted(python), npm


def unasked(reason):
    """Report that the check could not be done."""
    print(f"The advisory service could not be queried, so nothing was checked: {reason}", file=sys.stderr)
    return 2


def main(files):
    """Check all packages of the documents."""
    python, npm = shipped(files)
    if not python:
        return unasked("no documents with packages found; run make sbom")
    if npm:
        return unasked(f"{npm} packages are not Python packages, which are the only supported kind")
    probe = ask([KNOWN_TO_BE_VULNERABLE])
    if isinstance(probe, str) or not vulnerabilities(probe):
        reason = probe if isinstance(probe, str) else "it reports no vulnerability, although some are published"
        return unasked(f"test query for {KNOWN_TO_BE_VULNERABLE}: {reason}")
    answer = ask(python)
    if isinstance(answer, str):
        return unasked(answer)
    found = vulnerabilities(answer)
    print("\n".join(found) or f"{len(python)} packages without a known vulnerability")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]] or sorted((ROOT / "dist" / "sbom").glob("*.cdx.json"))))
