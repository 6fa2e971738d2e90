"""The size of a simulated cluster, and the bugs that can be planted in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

SHARDS = 16
OBJECTS = 6
CLUSTER = "simulated"


class Bug(Enum):
    """A rule that is broken on purpose, to show that the watchers notice."""

    UNFENCED = auto()  # the store accepts records of old epochs
    UNCHECKED_REPLIES = auto()  # nodes send replies that committed nothing without checking the lease
    EARLY_RELEASE = auto()  # nodes release a shard before its turns are durable
    UNGUARDED_CLAIMS = auto()  # nodes publish claims even if the shard has another target by then
    HASTY_HISTORY = auto()  # nodes claim and plan without a pause after etcd was emptied or restored
    UNKEYED_RETRY = auto()  # gates add no router key to calls that they send again


@dataclass(frozen=True)
class Settings:
    """The settings of one run."""

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
