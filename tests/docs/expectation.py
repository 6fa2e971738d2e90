"""Comparison of the output that a page shows with the output that a command printed."""

import re

ANYTHING = "..."


def matches(expected: list[str], printed: str) -> bool:
    """True if the complete output is the one that the page shows."""
    return bool(re.fullmatch(_pattern(expected), _trimmed(printed.splitlines())))


def has_appeared(expected: list[str], printed: str) -> bool:
    """True if the output so far begins with what the page shows."""
    return bool(re.match(_pattern(expected), _trimmed(printed.splitlines())))


def _trimmed(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _pattern(expected: list[str]) -> str:
    """Return a regular expression: a line `...` matches any number of lines, `...` within a line any text."""
    pieces: list[str] = []
    for line in _trimmed(expected).split("\n"):
        if line.strip() == ANYTHING:
            pieces.append(r"(?:[^\n]*(?:\n|\Z))*?")
        else:
            words = (re.escape(part) for part in line.split(ANYTHING))
            pieces.append("[^\n]*".join(words) + r"(?:\n|\Z)")
    return "".join(pieces)
