"""Print the requirements of a role's image: the dependencies of pyproject.toml that the role imports.

`tests/unit/cli/test_images.py` starts each part without the packages that are left out here.
"""

import re
import sys
import tomllib
from pathlib import Path

LEFT_OUT = {
    "gate": {"asyncpg", "watchfiles"},  # no database, no reload
    "node": {"fastapi-offline", "watchfiles"},  # its admin routes have no documentation pages
    "tools": set[str](),
}


def main(role: str) -> None:
    """Print one requirement per line."""
    pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    for requirement in pyproject["project"]["dependencies"]:
        if re.split(r"[<>=]", requirement)[0] not in LEFT_OUT[role]:
            print(requirement)


if __name__ == "__main__":
    main(sys.argv[1])
