"""Defaults that follow what the process may use: below everything that somebody wrote, above the plain defaults.

A process keeps a part of its memory for itself (interpreter, libraries, what calls hold while they run), and what a
node counts for its objects is an estimate, so half of the rest is theirs. Without a limit of the control group the
plain defaults hold: memory of a machine is not one process's alone. Only a machine that is too small lowers them.
"""

from __future__ import annotations

from typing import Final

from goverse.limits import ACTIVATIONS_BYTES_MAX, BODIES_BYTES_MAX, KEPT_REPLIES_BYTES_MAX, MIB, STATE_BYTES_MAX
from goverse.settings.layers import Layer
from goverse.telemetry.resources import Allowance

OWN_BYTES: Final = 128 * MIB
"""What a node takes without objects, with room: 96 MiB resident were measured for the sample application."""

_OBJECTS_PART: Final = 1 / 2  # of what is left
_OBJECTS_PART_MIN: Final = 1 / 8  # of the whole, where next to nothing is left
_BODIES_PART: Final = 1 / 4
_KEPT_PART: Final = 1 / 4


def derived(allowed: Allowance) -> Layer:
    """Return the defaults that ``allowed`` asks for, with their reason as origin."""
    layer = Layer()
    if not allowed.memory_bytes:
        return layer
    whose = "a memory limit" if allowed.memory_bounded else "a machine"
    origin = f"default for {whose} of {allowed.memory_bytes / MIB:.0f} MiB"
    objects, bodies = objects_bytes(allowed.memory_bytes), bodies_bytes(allowed.memory_bytes)
    if allowed.memory_bounded or objects < ACTIVATIONS_BYTES_MAX:
        layer.put(("node", "activations_bytes_max"), objects, origin)
    if (kept := kept_bytes(allowed.memory_bytes)) < KEPT_REPLIES_BYTES_MAX:
        layer.put(("node", "kept_replies_bytes_max"), kept, origin)
    if bodies < BODIES_BYTES_MAX:
        layer.put(("gate", "bodies_bytes_max"), bodies, origin)
    return layer


def objects_bytes(memory_bytes: int) -> int:
    """Return how much of so much memory the objects of a node may take."""
    return max(MIB, int((memory_bytes - OWN_BYTES) * _OBJECTS_PART), int(memory_bytes * _OBJECTS_PART_MIN))


def kept_bytes(memory_bytes: int) -> int:
    """Return how much of so much memory the replies may take that the embedded store keeps."""
    return min(KEPT_REPLIES_BYTES_MAX, max(MIB, int(memory_bytes * _KEPT_PART)))


def bodies_bytes(memory_bytes: int) -> int:
    """Return how much of so much memory bodies that arrive in pieces may take."""
    return min(BODIES_BYTES_MAX, max(STATE_BYTES_MAX, int(memory_bytes * _BODIES_PART)))
