"""Escaping of control characters, so that text from a server or an object can neither control the terminal nor forge
a line of output.
"""

from __future__ import annotations

import re
from typing import Final

from goverse.model.terminal_text import UNSAFE

_IN_LINES: Final = re.compile(f"(?![\t\n])[{UNSAFE}]")
_IN_A_LINE: Final = re.compile(f"[{UNSAFE}]")


def lines(text: str) -> str:
    """Escape control characters as in JSON (``\\u001b``), except tabs and line feeds."""
    return _IN_LINES.sub(_escaped, text)


def line(text: str) -> str:
    """Escape all control characters, tabs and line feeds included."""
    return _IN_A_LINE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
