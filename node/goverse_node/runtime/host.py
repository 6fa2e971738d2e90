"""The node, as an activation sees it: the services that it uses, and what it reports.

Each part of the runtime names the services that it uses in a protocol of its own (``TurnHost``, ``GateHost``,
``KeyHost``, ``ReceivingHost``). ``Host`` is their sum and the reports of an activation. The node implements it, and
another host can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from goverse.model.frames import Request
from goverse.model.keys import ObjectKey
from goverse_node.runtime.call import Call
from goverse_node.runtime.idempotency import KeyHost
from goverse_node.runtime.output_gate import GateHost
from goverse_node.runtime.receiving import ReceivingHost
from goverse_node.runtime.turn import Turn, TurnHost

ActivationT_contra = TypeVar("ActivationT_contra", contravariant=True)


class Host(TurnHost, GateHost, KeyHost, ReceivingHost, Protocol[ActivationT_contra]):
    """The host of activations.

    Attributes:
        loads_at_once: True while every load so far was answered from memory.
    """

    loads_at_once: bool

    def now(self) -> float:
        """Return the time of the loop's clock."""
        ...

    def own_request(self, key: ObjectKey) -> Request:
        """Return a request for a hook that runs without a call."""
        ...

    def turns_of(self, key: ObjectKey) -> Sequence[Turn]:
        """Return the running turns of an object, none if it is not in memory."""
        ...

    def deliver(self, call: Call) -> None:
        """Deliver a call to the object's activation, a new one if necessary."""
        ...

    def resized(self, activation: ActivationT_contra, /) -> None:
        """Note that the object may have another size."""
        ...

    def release(self, activation: ActivationT_contra, /) -> None:
        """Note that the activation is about to leave memory."""
        ...

    def forget(self, activation: ActivationT_contra, /) -> None:
        """Remove the activation, which has left memory. The next call creates a new one."""
        ...
