"""Strays: what methods left running when their turns ended.

A task, a callback or a thread that a method starts gets a copy of the turn's context, and with it the turn's ``Scope``.
Nothing else refers to a scope, so one that is still alive after its turn was left with something that may change the
object later, when no turn runs. The state is then compared before the next turn begins (``isolation.undo_strays``).
Objects whose methods leave nothing behind pay for one weak reference per turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from goverse_node.turn import Scope, Turn

_NAMES_MAX = 5


class Strays:
    """The scopes of one object that outlived their turns."""

    __slots__ = ("_alive", "_ended")

    def __init__(self) -> None:
        """Start with none."""
        self._alive: dict[ref[Scope], str] = {}
        self._ended: list[str] = []

    def add(self, turn: Turn, mark: ref[Scope]) -> None:
        """Note a scope that is alive although its turn has ended."""
        scope = mark()
        if scope is not None:
            self._alive[ref(scope, self._forget)] = f"{turn.name} ({turn.request.request_id})"

    def _forget(self, mark: ref[Scope]) -> None:
        name = self._alive.pop(mark, None)
        if name is not None and len(self._ended) < _NAMES_MAX:
            self._ended.append(name)

    def names(self) -> list[str]:
        """Return the turns that left something behind since the last look, as method and request id."""
        return [*self._ended, *tuple(self._alive.values())[:_NAMES_MAX]][:_NAMES_MAX]

    def looked(self) -> bool:
        """Forget what has ended, since the state was compared; return False if nothing is left."""
        self._ended.clear()
        return bool(self._alive)
