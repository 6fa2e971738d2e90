"""Text that is safe to print: what a server or an object says must neither steer a terminal nor forge a line."""

from __future__ import annotations

import re
from typing import Final

# Controls of ASCII and Latin-1 other than tab and line feed, line and paragraph separators, directions of writing.
_UNSAFE: Final = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_IN_LINES: Final = re.compile(f"[{_UNSAFE}]")
_IN_A_LINE: Final = re.compile(f"[\t\n{_UNSAFE}]")


def lines(text: str) -> str:
    """Return a text of several lines with its control characters escaped as in JSON, ``\\u001b``."""
    return _IN_LINES.sub(_escaped, text)


def line(text: str) -> str:
    """Return a text with its control characters escaped, line feeds among them."""
    return _IN_A_LINE.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"
