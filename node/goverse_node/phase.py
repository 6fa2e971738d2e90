"""The life of an activation.

    LOADING ──▶ ACTIVE ──▶ CLOSING ──▶ GONE
       └───────────┴──────────────────▶

* LOADING: the store is asked; calls wait in the mailbox.
* ACTIVE: calls are admitted.
* CLOSING: the last commits settle, ``on_deactivate`` runs; calls wait.
* GONE: out of the node's table. Calls that waited go to a new activation; turns that still run have no effect.
"""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Where an activation stands."""

    LOADING = 1
    ACTIVE = 2
    CLOSING = 3
    GONE = 4
