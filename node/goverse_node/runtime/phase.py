"""Life cycle of an activation.

    LOADING ──▶ ACTIVE ──▶ CLOSING ──▶ GONE
       └───────────┴──────────────────▶

LOADING  The object is being loaded from the store. Calls wait in the mailbox.
ACTIVE   Calls are admitted.
CLOSING  The last commits settle and ``on_deactivate`` runs. New calls wait in the mailbox.
GONE     The activation was removed from the node's cache. Waiting calls move to a new activation; turns that still run
         have no effect.
"""

from __future__ import annotations

from enum import Enum


class Phase(Enum):
    """Phase of an activation."""

    LOADING = 1
    ACTIVE = 2
    CLOSING = 3
    GONE = 4
