"""The size and the faults of a simulated cluster."""

from __future__ import annotations

from dataclasses import dataclass

SHARDS = 8
OBJECTS = 4
PARTIES = 4
CLUSTER = "simulated"
LEASE_TTL_S = 5.0


@dataclass(frozen=True)
class Settings:
    """The settings of one run.

    Attributes:
        think_s: mean pause of a client between two calls.
        reads: fraction of calls that read.
        faults_s: the time in which faults strike.
        fault_every_s: mean pause between two faults.
        calm_s: the time after the recovery in which calls in progress end.
        senders: the clients whose calls let parties send reliable calls.
        send_s: mean pause of such a client between two calls.
        delivery_timeout_s: the time for which the sender of a reliable call waits for the answer to one delivery.
        faults: the faults to choose from; all if empty.
    """

    nodes: int = 3
    gates: int = 2
    clients: int = 5
    think_s: float = 0.25
    reads: float = 0.3
    faults_s: float = 12.0
    fault_every_s: float = 1.2
    calm_s: float = 8.0
    senders: int = 2
    send_s: float = 0.8
    delivery_timeout_s: float = 4.0
    faults: tuple[str, ...] = ()
