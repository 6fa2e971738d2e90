"""Write the generated parts of the reference pages again: run it after changing a setting.

A part stands between `<!-- settings: SECTION -->` and `<!-- end -->`. Tests compare the pages with their
source.
"""

import re
from pathlib import Path

from goverse.settings.document import markdown_table

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "docs" / "guide" / "configuration.md"
PART = re.compile(r"(<!-- settings: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def main() -> None:
    """Write the pages."""
    page = CONFIGURATION.read_text(encoding="utf-8")
    filled = PART.sub(lambda part: f"{part[1]}{markdown_table(part[2])}{part[3]}", page)
    CONFIGURATION.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
