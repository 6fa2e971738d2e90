"""Findings: the result of a check, with a stable code, a severity, an observation and a next step."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class Weight(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    """The check passed."""
    NOTE = "note"
    """Information; no action is needed."""
    WARNING = "warning"
    """The command continues; the operator should look into it."""
    BLOCKS = "blocks"
    """The command stops, unless the operator passes the code in ``--despite``."""


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    code: str
    weight: Weight
    seen: str
    next: str = ""

    def __post_init__(self) -> None:
        """Refuse a warning or blocking finding without a next step."""
        if self.weight in (Weight.WARNING, Weight.BLOCKS) and not self.next:
            raise ValueError(f"the finding {self.code} does not say what to do next")

    @property
    def line(self) -> str:
        """The finding as text."""
        text = f"{self.weight.value:8} {self.code}: {self.seen}"
        return f"{text}\n{'':8} -> {self.next}" if self.next else text


def ok(code: str, seen: str) -> Finding:
    """Return a finding for a check that passed."""
    return Finding(code, Weight.OK, seen)


def note(code: str, seen: str, to_do: str = "") -> Finding:
    """Return an informational finding."""
    return Finding(code, Weight.NOTE, seen, to_do)


def warning(code: str, seen: str, to_do: str) -> Finding:
    """Return a warning."""
    return Finding(code, Weight.WARNING, seen, to_do)


def blocks(code: str, seen: str, to_do: str) -> Finding:
    """Return a blocking finding."""
    return Finding(code, Weight.BLOCKS, seen, to_do)


def blocking(findings: Iterable[Finding], despite: Sequence[str] = ()) -> list[Finding]:
    """Return the blocking findings, except those whose codes are in ``despite``."""
    return [each for each in findings if each.weight is Weight.BLOCKS and each.code not in despite]


def as_documents(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return findings as JSON values."""
    return [{**asdict(each), "weight": each.weight.value} for each in findings]
