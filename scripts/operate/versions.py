"""Releases as numbers, and which may follow which.

The rule is that of docs/guide/compatibility.md: peers at most one minor apart serve together, so an upgrade goes one
minor at a time; before 1.0 as well. Going back is the same step the other way, as far as the schema of the database
lets it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_FORM = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:[.\-+]?([A-Za-z].*))?$")


@dataclass(frozen=True, order=True)
class Version:
    """A release; what stands behind the three numbers of a preliminary one is not compared."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        """Write it as it is written elsewhere."""
        return f"{self.major}.{self.minor}.{self.patch}"


class Step(StrEnum):
    """What a change of the release is."""

    SAME = "same"
    PATCH = "patch"
    MINOR = "minor"
    BACK = "back"
    """To an older patch, or one minor back."""
    TOO_FAR = "too_far"
    """Over a minor, in either direction, or to another major."""


def parse(text: str) -> Version | None:
    """Return the release that a text names, or None where it names none."""
    match = _FORM.match(text.strip())
    return Version(*(int(part) for part in match.groups()[:3])) if match else None


def step(present: Version, wanted: Version) -> Step:
    """Tell what going from one release to the other is."""
    if present == wanted:
        return Step.SAME
    if present.major != wanted.major or abs(present.minor - wanted.minor) > 1:
        return Step.TOO_FAR
    if wanted < present:
        return Step.BACK
    return Step.PATCH if present.minor == wanted.minor else Step.MINOR
