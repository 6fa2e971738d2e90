"""Say whether everything that is shipped has a licence that we accept: `licences.py [FILE...]`, CycloneDX documents.

What is accepted, and packages whose metadata names no licence, stand in two tables of docs/design/dependencies.md. A
package may say several things: where it states an expression or an identifier of SPDX, those count and the rest is
decoration. Every complaint is printed; one is enough for exit code 1. Runs in the environment of
scripts/chain_tools.sh.
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
    """Return the rows between `<!-- NAME -->` and `<!-- end -->` of the page: first column to second."""
    part = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert part is not None, f"{PAGE} has no table `{name}`"
    rows = re.findall(r"^\| `([^`]+)` \| `?([^`|]+?)`? \|", part[1], re.MULTILINE)
    return dict(rows)


def stated(component):
    """Return what a component says in words of SPDX."""
    found = []
    for entry in component.get("licenses", []):
        text = entry.get("expression") or entry["license"].get("id")
        if text:
            found.append(text)
    return found


def accepted(expression, allowed):
    """Tell whether the licence, one choice of an OR, or every part of an AND is allowed."""
    if isinstance(expression, OR):
        return any(accepted(part, allowed) for part in expression.args)
    if isinstance(expression, AND):
        return all(accepted(part, allowed) for part in expression.args)
    return str(expression) in allowed


def complaint(component, allowed, known):
    """Return what is wrong with the licence of a component, or None."""
    name = component["name"].lower().replace("_", "-")
    texts = stated(component) or ([known[name]] if name in known else [])
    if not texts:
        said = [entry["license"].get("name", "")[:60] for entry in component.get("licenses", [])]
        return f"states no licence of SPDX (it says {said or 'nothing'})"
    for text in texts:
        try:
            expression = SPDX.parse(text, validate=True)
        except ExpressionError as error:
            return f"states {text!r}, which is no expression of SPDX: {error}"
        if not accepted(expression, allowed):
            return f"is under {text}, which is not on the list"
    return None


def main(files):
    """Judge all documents."""
    allowed, known = set(table("accepted licences")), table("licences stated here")
    complaints, judged = [], 0
    for file in files:
        document = json.loads(file.read_text(encoding="utf-8"))
        for component in document.get("components", []):
            judged += 1
            wrong = complaint(component, allowed, known)
            if wrong is not None:
                complaints.append(f"{file.name}: {component['name']} {component.get('version', '')} {wrong}")
    print("\n".join(complaints) or f"{judged} packages in {len(files)} documents, each under an accepted licence")
    return 1 if complaints or not judged else 0


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]] or sorted((ROOT / "dist" / "sbom").glob("*.cdx.json"))))
