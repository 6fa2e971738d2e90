"""Compares what a page says a command prints with what it printed."""

import re

ANYTHING = "..."


def matches(expected: list[str], printed: str) -> bool:
    """Whether the whole output is the one that the page shows."""
    return bool(re.fullmatch(_pattern(expected), _trimmed(printed.splitlines())))


def has_appeared(expected: list[str], printed: str) -> bool:
    """Whether output that still grows begins with what the page shows."""
    return bool(re.match(_pattern(expected), _trimmed(printed.splitlines())))


def _trimmed(lines: list[str]) -> str:
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def _pattern(expected: list[str]) -> str:
    """A line `...` is any number of lines, also none; inside a line it is any characters."""
    pieces: list[str] = []
    for line in _trimmed(expected).split("\n"):
        if line.strip() == ANYTHING:
            pieces.append(r"(?:[^\n]*(?:\n|\Z))*?")
        else:
            words = (re.escape(part) for part in line.split(ANYTHING))
            pieces.append("[^\n]*".join(words) + r"(?:\n|\Z)")
    return "".join(pieces)
