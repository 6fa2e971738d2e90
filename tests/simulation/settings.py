"""How large a simulated cluster is, and which bugs are planted in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

SHARDS = 16
OBJECTS = 6
CLUSTER = "simulated"


class Bug(Enum):
    """A rule that is broken on purpose, to show that the watchers notice."""

    UNFENCED = auto()  # the store takes records of old epochs
    UNCHECKED_REPLIES = auto()  # nodes answer what committed nothing without looking at the lease
    EARLY_RELEASE = auto()  # nodes give a shard away before its turns are durable
    UNGUARDED_CLAIMS = auto()  # nodes publish claims whatever the targets are by then
    HASTY_HISTORY = auto()  # nodes claim and plan at once when etcd was emptied or restored
    UNKEYED_RETRY = auto()  # gates give no key of their own to calls that they send again


@dataclass(frozen=True)
class Settings:
    """One run."""

    nodes: int = 3
    gates: int = 2
    clients: int = 6
    think_s: float = 0.5
    reads: float = 0.25
    faults_s: float = 25.0
    fault_every_s: float = 1.5
    calm_s: float = 20.0
    faults: tuple[str, ...] = ()
    bugs: frozenset[Bug] = field(default_factory=frozenset[Bug])
