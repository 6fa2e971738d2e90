"""Defaults derived from the resources of the process. They override plain defaults but no configured value.

A process needs memory for itself (interpreter, libraries, running calls), and a node's count of its objects' memory is
an estimate, so objects get half of the remaining memory. Without a memory limit of the control group the plain defaults
apply, because a machine's memory is shared with other processes; only a small machine lowers them.
"""

from __future__ import annotations

from typing import Final

from goverse.limits import (
    ACTIVATIONS_BYTES_MAX,
    ANSWERS_BYTES_MAX,
    BODIES_BYTES_MAX,
    KEPT_REPLIES_BYTES_MAX,
    MIB,
    STATE_BYTES_MAX,
)
from goverse.settings.layers import Layer
from goverse.telemetry.resources import Allowance

OWN_BYTES: Final = 128 * MIB
"""Memory of a node without objects, with a margin: the sample application measured 96 MiB resident."""

_OBJECTS_PART: Final = 1 / 2  # of the remaining memory
_OBJECTS_PART_MIN: Final = 1 / 8  # of all memory, if almost none remains
_BODIES_PART: Final = 1 / 4
_KEPT_PART: Final = 1 / 4


def derived(allowed: Allowance) -> Layer:
    """Return the defaults for ``allowed``, with the reason as their origin."""
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
    answers = min(ANSWERS_BYTES_MAX, bodies)
    if answers < ANSWERS_BYTES_MAX:
        layer.put(("gate", "answers_bytes_max"), answers, origin)
    return layer


def objects_bytes(memory_bytes: int) -> int:
    """Return the memory for a node's objects, given ``memory_bytes`` for the process."""
    return max(MIB, int((memory_bytes - OWN_BYTES) * _OBJECTS_PART), int(memory_bytes * _OBJECTS_PART_MIN))


def kept_bytes(memory_bytes: int) -> int:
    """Return the memory for the replies kept by the embedded store, given ``memory_bytes`` for the process."""
    return min(KEPT_REPLIES_BYTES_MAX, max(MIB, int(memory_bytes * _KEPT_PART)))


def bodies_bytes(memory_bytes: int) -> int:
    """Return the memory for request bodies that arrive in pieces, given ``memory_bytes`` for the process."""
    return min(BODIES_BYTES_MAX, max(STATE_BYTES_MAX, int(memory_bytes * _BODIES_PART)))
