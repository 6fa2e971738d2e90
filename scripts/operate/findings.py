"""What a check found: a stable code, how bad it is, what was seen, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum


class Weight(StrEnum):
    """What a finding does to the work that it was looked for."""

    OK = "ok"
    """Looked at, and well."""
    NOTE = "note"
    """Worth knowing; nothing to do."""
    WARNING = "warning"
    """Goes on; somebody should look."""
    BLOCKS = "blocks"
    """Does not go on, unless the operator names its code in ``--despite``."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    code: str
    weight: Weight
    seen: str
    next: str = ""

    def __post_init__(self) -> None:
        """Refuse a finding that leaves its reader alone."""
        if self.weight in (Weight.WARNING, Weight.BLOCKS) and not self.next:
            raise ValueError(f"the finding {self.code} does not say what to do next")

    @property
    def line(self) -> str:
        """The finding for people."""
        text = f"{self.weight.value:8} {self.code}: {self.seen}"
        return f"{text}\n{'':8} -> {self.next}" if self.next else text


def ok(code: str, seen: str) -> Finding:
    """Something that is well."""
    return Finding(code, Weight.OK, seen)


def note(code: str, seen: str, to_do: str = "") -> Finding:
    """Something to know."""
    return Finding(code, Weight.NOTE, seen, to_do)


def warning(code: str, seen: str, to_do: str) -> Finding:
    """Something to look at."""
    return Finding(code, Weight.WARNING, seen, to_do)


def blocks(code: str, seen: str, to_do: str) -> Finding:
    """Something that has to be right first."""
    return Finding(code, Weight.BLOCKS, seen, to_do)


def blocking(findings: Iterable[Finding], despite: Sequence[str] = ()) -> list[Finding]:
    """Return what keeps the work from going on; ``despite`` are codes that the operator takes on."""
    return [each for each in findings if each.weight is Weight.BLOCKS and each.code not in despite]


def as_documents(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Return findings as JSON values."""
    return [{**asdict(each), "weight": each.weight.value} for each in findings]
