"""Check that all shipped dependencies have an accepted licence: `licences.py [FILE...]`, with CycloneDX documents.

docs/design/dependencies.md has two tables: the accepted licences, and the licences of packages whose metadata has none.
If a package states SPDX expressions or identifiers, only those count. All problems are printed; the exit code is 1 if
there is any. Runs in the environment of scripts/chain_tools.sh.
"""

import json
import re
import sys
from pathlib import Path

from license_expression import AND, OR, ExpressionError, get_spdx_licensing

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "design" / "dependencies.md"
SPDX = get_spdx_licensing()


def table(name):
    """Return the table between `<!-- NAME -->` and `<!-- end -->` of the page, first column to second."""
    part = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert part is not None, f"{PAGE} has no table `{name}`"
    rows = re.findall(r"^\| `([^`]+)` \| `?([^`|]+?)`? \|", part[1], re.MULTILINE)
    return dict(rows)


def stated(component):
    """Return the SPDX expressions and identifiers of a component."""
    found = []
    for entry in component.get("licenses", []):
        text = entry.get("expression") or entry["license"].get("id")
        if text:
            found.append(text)
    return found


def accepted(expression, allowed):
    """Return True if the licence is allowed: itself, one alternative of an OR, or all parts of an AND."""
    if isinstance(expression, OR):
        return any(accepted(part, allowed) for part in expression.args)
    if isinstance(expression, AND):
        return all(accepted(part, allowed) for part in expression.args)
    return str(expression) in allowed


def complaint(component, allowed, known):
    """Return the problem with the licence of a component, or None."""
    name = component["name"].lower().replace("_", "-")
    texts = stated(component) or ([known[name]] if name in known else [])
    if not texts:
        said = [entry["license"].get("name", "")[:60] for entry in component.get("licenses", [])]
        return f"has no SPDX licence (its metadata: {said or 'empty'})"
    for text in texts:
        try:
            expression = SPDX.parse(text, validate=True)
        except ExpressionError as error:
            return f"has the licence {text!r}, which is not a valid SPDX expression: {error}"
        if not accepted(expression, allowed):
            return f"has the licence {text}, which is not accepted"
    return None


def main(files):
    """Check all documents."""
    allowed, known = set(table("accepted licences")), table("licences stated here")
    complaints, judged = [], 0
    for file in files:
        document = json.loads(file.read_text(encoding="utf-8"))
        for component in document.get("components", []):
            judged += 1
            wrong = complaint(component, allowed, known)
            if wrong is not None:
                complaints.append(f"{file.name}: {component['name']} {component.get('version', '')} {wrong}")
    print("\n".join(complaints) or f"{judged} packages in {len(files)} documents, all with an accepted licence")
    return 1 if complaints or not judged else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]] or sorted((ROOT / "dist" / "sbom").glob("*.cdx.json"))))
