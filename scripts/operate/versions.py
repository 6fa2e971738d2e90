"""Version numbers of releases, and the supported steps between them.

The rule is in docs/guide/compatibility.md: processes that are at most one minor version apart work together, also
before 1.0. So an upgrade goes one minor version at a time. Going back is the same step in the other direction, if the
schema of the database allows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_FORM = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:[.\-+]?([A-Za-z].*))?$")


@dataclass(frozen=True, order=True)
class Version:
    """A version of three numbers. The suffix of a pre-release is ignored."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        """Return the usual notation, for example 1.2.3."""
        return f"{self.major}.{self.minor}.{self.patch}"


class Step(StrEnum):
    """Kind of a version change."""

    SAME = "same"
    PATCH = "patch"
    MINOR = "minor"
    BACK = "back"
    """To an older patch version, or one minor version back."""
    TOO_FAR = "too_far"
    """More than one minor version in either direction, or another major version."""


def parse(text: str) -> Version | None:
    """Parse a version; returns None if the text is not a version."""
    match = _FORM.match(text.strip())
    return Version(*(int(part) for part in match.groups()[:3])) if match else None


def step(present: Version, wanted: Version) -> Step:
    """Return the kind of change from one version to another."""
    if present == wanted:
        return Step.SAME
    if present.major != wanted.major or abs(present.minor - wanted.minor) > 1:
        return Step.TOO_FAR
    if wanted < present:
        return Step.BACK
    return Step.PATCH if present.minor == wanted.minor else Step.MINOR
