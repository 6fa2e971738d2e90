"""The etcd of a simulated cluster: one ``MemoryKeys`` on the virtual clock, reached over the network."""

from __future__ import annotations

from goverse.cluster.claims import Claims
from goverse.cluster.keys import KeyKind, KeyLayout
from goverse.cluster.targets import Targets
from goverse.ports.coordinator import Deleted, KeyEntry
from goverse.ports.memory_coordinator import MemoryCoordinator, Reach
from goverse.ports.memory_keys import MemoryKeys
from tests.simulation.world import World

NAME = "etcd"
OPERATION_TIMEOUT_S = 2.0
LATE_S = 3.0


class SimulatedReach(Reach):
    """The network between a process and etcd. A lost request arrives after its sender has stopped waiting for it."""

    def __init__(self, world: World, process: str) -> None:
        super().__init__()
        self.silent = True
        self._world, self._process = world, process
        world.on_cut(self._update)
        self._update()

    def one_way_s(self) -> float:
        return LATE_S if self._world.loses() else self._world.delay_s(self._process, NAME)

    def _update(self) -> None:
        self.requests = self._world.reaches(self._process, NAME)
        self.answers = self._world.reaches(NAME, self._process)
        if self.requests and self.answers:
            self.wake()


def connect(world: World, keys: MemoryKeys, process: str) -> MemoryCoordinator:
    """Return the etcd client of the process with this name."""
    return MemoryCoordinator(keys, reach=SimulatedReach(world, process), operation_timeout_s=OPERATION_TIMEOUT_S)


class Recorder:
    """Notes all changes of the keys in the trace."""

    def __init__(self, world: World, keys: MemoryKeys, layout: KeyLayout) -> None:
        self._world, self._keys, self._layout = world, keys, layout
        self._seen, self._history = keys.revision, keys.history
        keys.subscribe(self._changed)

    def _changed(self) -> None:
        keys = self._keys
        changed = keys.changes(self._layout.prefix, self._seen) if keys.history == self._history else None
        self._seen, self._history = keys.revision, keys.history
        for change in changed.changes if changed is not None else ():
            name = change.key.removeprefix(self._layout.prefix)
            what = "deleted" if isinstance(change, Deleted) else self._value(change)
            self._world.note(NAME, f"{name} {what}")

    def _value(self, entry: KeyEntry) -> str:
        parsed = self._layout.parse(entry.key)
        if parsed is not None and parsed.kind is KeyKind.CLAIMS:
            return f"= shards {sorted(Claims.decode(entry.value).epochs.items())}"
        if parsed is not None and parsed.kind is KeyKind.TARGETS:
            return f"= {' '.join(owner or '-' for owner in Targets.decode(entry.value).owners())}"
        if parsed is not None and parsed.kind in (KeyKind.LEADER, KeyKind.PIN, KeyKind.DRAIN, KeyKind.SHARDS):
            return f"= {entry.value.decode()}"
        return "written"
