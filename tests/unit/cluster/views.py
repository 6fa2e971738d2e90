"""A cluster view that tests write to directly, instead of a watch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from goverse.cluster.claims import Claims
from goverse.cluster.keys import KeyLayout
from goverse.cluster.member import Member, MemberState
from goverse.cluster.targets import Targets
from goverse.cluster.view import ClusterView
from goverse.ports.coordinator import KeyEntry


class FedView(ClusterView):
    """A view that is written by the test. Every write gets the next revision and returns it."""

    def __init__(self) -> None:
        super().__init__(KeyLayout("test"))
        self._created: dict[str, int] = {}

    def write(self, key: str, value: bytes) -> int:
        revision = self.revision + 1
        self.put(KeyEntry(key, value, self._created.setdefault(key, revision), revision))
        return revision

    def remove(self, *keys: str) -> None:
        for key in keys:
            self._created.pop(key, None)
            self.delete(key, self.revision + 1)

    def node(
        self, name: str, *, life: int = 1, state: MemberState = MemberState.SERVING, address: str | None = None
    ) -> int:
        """Register a node."""
        member = Member(name, address or f"{name}:1", f"{name}.{life}", state=state)
        return self.write(self.layout.node(name), member.encode())

    def claim(self, name: str, epochs: Mapping[int, int], *, life: int = 1) -> int:
        """Write the claims of a node."""
        return self.write(self.layout.claims(name), Claims(f"{name}.{life}", epochs).encode())

    def aim(self, owners: Sequence[str | None]) -> int:
        """Write targets."""
        return self.write(self.layout.targets, Targets.of(owners).encode())

    def forget(self) -> None:
        """Reload the view from an empty etcd."""
        self.reload((), self.revision)

    def die(self, name: str) -> None:
        """End a node's lease."""
        self.remove(self.layout.node(name), self.layout.claims(name))
