"""Generate the reference parts of docs/guide: run it after changing a setting or a command.

A generated part is between `<!-- settings: SECTION -->` or `<!-- help: COMMAND -->` and `<!-- end -->`. Tests check
that the pages match their sources.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from goverse.settings.document import markdown_table

GUIDE = Path(__file__).parents[1] / "docs" / "guide"
PART = re.compile(r"(<!-- (settings|help): ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def help_block(command: str) -> str:
    """Return the output of `COMMAND --help` as a code block."""
    words = [sys.executable, "-m", "goverse_cli", *command.split()[1:], "--help"]
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb"}
    ran = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    return f"```text\n{ran.stdout.strip()}\n```\n"


def content(part: re.Match[str]) -> str:
    """Return a generated part with its current content."""
    made = markdown_table(part[3]) if part[2] == "settings" else help_block(part[3])
    return f"{part[1]}{made}{part[4]}"


def main() -> None:
    """Update the pages."""
    for page in (GUIDE / "configuration.md", GUIDE / "command-line.md"):
        page.write_text(PART.sub(content, page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
