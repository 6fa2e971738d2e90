"""The characters that are escaped before text of clients, peers and objects reaches a terminal or a log.

A terminal carries some of them out, takes others for the end of a line, or shows the rest of a line in another order.
The log and the command share this list.
"""

from __future__ import annotations

from typing import Final

UNSAFE: Final = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""Controls of ASCII and Latin-1, line and paragraph separators, directions of writing, half surrogate pairs: the inside
of a character class of ``re``."""
