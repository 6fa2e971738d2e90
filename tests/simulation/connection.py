"""A gate's connection to a node. A lost message breaks it after a random delay.

A request that was sent before the connection broke may still arrive and run, but its reply is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

from tests.simulation.calls import Answer, Kind, Request

if TYPE_CHECKING:
    from tests.simulation.gate import SimulatedGate
    from tests.simulation.node import SimulatedNode

KEEPALIVE_S = 0.5
KEEPALIVES_MISSED = 4


class Connection:
    """One connection. Once it is `broken` it stays so."""

    def __init__(self, gate: SimulatedGate, node: SimulatedNode) -> None:
        self._gate = gate
        self._node = node
        self._life = node.life
        self._waiting: dict[int, Callable[[Answer], None]] = {}
        self._numbers = count()
        self._missed = 0
        self.broken = not self._healthy()
        if not self.broken:
            gate.after(KEEPALIVE_S, self._keep_alive)

    def _healthy(self) -> bool:
        world, gate, node = self._gate.world, self._gate.name, self._node
        reaches = world.reaches(gate, node.name) and world.reaches(node.name, gate)
        return node.alive and node.life == self._life and reaches and node.paused_until <= world.now

    def _keep_alive(self) -> None:
        if self.broken:
            return
        gone = not self._node.alive or self._node.life != self._life
        self._missed = 0 if self._healthy() else self._missed + 1
        if gone or self._missed >= KEEPALIVES_MISSED:
            self.cut()
        else:
            self._gate.after(KEEPALIVE_S, self._keep_alive)

    def cut(self) -> None:
        """Break the connection and report LOST for every request without a reply."""
        self.broken = True
        waiting, self._waiting = self._waiting, {}
        for tell in waiting.values():
            tell(Answer(Kind.LOST))

    def send(self, request: Request, tell: Callable[[Answer], None]) -> None:
        """Send a request and call `tell` once, with the reply or with LOST."""
        number = next(self._numbers)
        self._waiting[number] = tell
        world, gate, node, life, gate_life = self._gate.world, self._gate, self._node, self._life, self._gate.life

        def answered(answer: Answer) -> None:
            waiting = self._waiting.pop(number, None)
            if waiting is not None:
                waiting(answer)

        def reply(answer: Answer) -> None:
            if not world.send(node.name, gate.name, lambda: gate.take(gate_life, lambda: answered(answer))):
                self._doom()

        arriving = Request(request.object, request.shard, request.entry, request.key, request.attempt, reply)
        if not world.send(gate.name, node.name, lambda: node.take(life, lambda: node.receive(arriving))):
            self._doom()

    def _doom(self) -> None:
        """Break the connection after a random delay, because a message was lost."""
        self._gate.after(self._gate.world.random.uniform(0.05, 2.0), self.cut)
