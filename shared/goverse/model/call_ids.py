"""Ids of reliable calls, and the way from an id to the node that has the call.

A generated id is ``c_``, the placement hash of the sender, and a UUID, as 48 hexadecimal digits. So any gate finds the
shard of the call by its id alone, also after shards were split or merged. The dead letter of a ``then`` has the id of
its call and ``.then`` (``THEN_SUFFIX``), which leads to the same place. An id that the sender chose does not name a
place; a request about such a call has to name the sender.
"""

from __future__ import annotations

import re
from typing import Final

from goverse.model.keys import ObjectKey
from goverse.model.object_ids import derived_id, time_ordered_id

GENERATED_ID_PREFIX: Final = "c_"
"""Prefix of generated ids; an id that a sender chooses must not have it."""

THEN_SUFFIX: Final = ".then"
"""End of the id of a dead letter for a ``then`` alone."""

_GENERATED: Final = re.compile(r"c_([0-9a-f]{16})[0-9a-f]{32}(?:\.then)?")
_PLACE: Final = re.compile(r"[0-9a-f]{16}")


def new_call_id(placement: int, wall_ms: int, entropy: bytes) -> str:
    """Return a new id for a call whose sender has the placement hash ``placement``; ``entropy`` is 10 random bytes."""
    return _call_id(placement, time_ordered_id(wall_ms, entropy))


def repeated_call_id(placement: int, receiver: ObjectKey, idempotency_key: str) -> str:
    """Return the id for a call that a client sends with this idempotency key; every repetition gets the same id."""
    return _call_id(placement, derived_id(receiver.namespace, f"{receiver.type}/{receiver.id}", idempotency_key))


def placement_of_call(call_id: str) -> int | None:
    """Return the placement hash of the sender of a call with a generated id; None for any other text."""
    found = _GENERATED.fullmatch(call_id)
    return int(found[1], 16) if found is not None else None


def place_of_call(namespace: str, placement: int) -> ObjectKey:
    """Return the key to which a request about a call is sent if its sender is not known.

    Its type is empty, so it is not the key of an object; ``goverse.model.keys.placement_hash`` reads its id.
    """
    return ObjectKey(namespace, "", f"{placement:016x}")


def is_place(key: ObjectKey) -> bool:
    """True if ``place_of_call`` made the key."""
    return not key.type and _PLACE.fullmatch(key.id) is not None


def _call_id(placement: int, unique: str) -> str:
    return f"{GENERATED_ID_PREFIX}{placement:016x}{unique.replace('-', '')}"
