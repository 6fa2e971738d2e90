"""Characters that are escaped before a text from clients, peers or objects is written to a terminal or a log.

A terminal executes some of them, treats others as line ends, or reverses the order of the rest of the line. The log and
the command line share this list.
"""

from __future__ import annotations

from typing import Final

UNSAFE: Final = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Control characters of ASCII and Latin-1, line and paragraph separators, text direction marks, half surrogate pairs,
written as the inside of a character class of ``re``."""
