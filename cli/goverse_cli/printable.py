"""Text that is safe to print: what a server or an object says must neither steer a terminal nor forge a line."""

from __future__ import annotations

import re
from typing import Final

from goverse.model.terminal_text import UNSAFE

_IN_LINES: Final = re.compile(f"(?![\t\n])[{UNSAFE}]")
_IN_A_LINE: Final = re.compile(f"[{UNSAFE}]")


def lines(text: str) -> str:
    """Return a text of several lines with its control characters escaped as in JSON, ``\\u001b``."""
    return _IN_LINES.sub(_escaped, text)


def line(text: str) -> str:
    """Return a text with its control characters escaped, line feeds among them."""
    return _IN_A_LINE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
