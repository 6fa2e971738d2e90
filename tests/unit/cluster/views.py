"""A view fed by hand, as a watch would feed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from goverse.cluster.claims import Claims
from goverse.cluster.keys import KeyLayout
from goverse.cluster.member import Member, MemberState
from goverse.cluster.targets import Targets
from goverse.cluster.view import ClusterView, Entry


class FedView(ClusterView):
    """A view whose test writes to it; each write gets the next revision, which it returns."""

    def __init__(self) -> None:
        super().__init__(KeyLayout("test"))
        self._created: dict[str, int] = {}

    def write(self, key: str, value: bytes) -> int:
        """Take in a write of `key`."""
        revision = self.revision + 1
        self.put(Entry(key, value, self._created.setdefault(key, revision), revision))
        return revision

    def remove(self, *keys: str) -> None:
        """Take in the deletion of `keys`."""
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
        """Let a node claim."""
        return self.write(self.layout.claims(name), Claims(f"{name}.{life}", epochs).encode())

    def aim(self, owners: Sequence[str | None]) -> int:
        """Write targets."""
        return self.write(self.layout.targets, Targets.of(owners).encode())

    def forget(self) -> None:
        """Hear of everything anew, of which nothing is left."""
        self.reload((), self.revision)

    def die(self, name: str) -> None:
        """Let a node's lease end."""
        self.remove(self.layout.node(name), self.layout.claims(name))
