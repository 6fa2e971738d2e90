"""Memento: the containers of a state and what was in them, so that the state can be put back in place.

A turn that waits may hold references into the state (``items = self.items``). If another turn of the object has to be
undone meanwhile, rebuilding the state from bytes would leave those references to copies that belong to no object: what
is appended there afterwards would be acknowledged and lost. A memento refills the same lists, dicts, sets, deques,
models and dataclasses instead, also those inside each other.

A memento is a walk over the whole state, so it is made only before a step of a turn beside which another one waits.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from types import FunctionType, MemberDescriptorType, ModuleType
from typing import Any
from uuid import UUID

_SCALARS = (str, int, float, complex, bytes, type(None), Decimal, date, time, timedelta, UUID)
_LEAVES = (*_SCALARS, Enum, type, FunctionType, ModuleType)
_SEQUENCES: tuple[Any, ...] = (list, deque)
_MAPPINGS: tuple[Any, ...] = (OrderedDict, dict)  # the order of an OrderedDict is not that of the dict inside it
_FROZEN: tuple[Any, ...] = (tuple, frozenset)
_CONTAINERS: tuple[Any, ...] = (*_SEQUENCES, *_MAPPINGS, set, bytearray, *_FROZEN)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement, so its slots may be set
_ABSENT: Any = object()

Refill = Callable[[], None]


class Memento:
    """The contents of all containers that an object's fields lead to.

    Attributes:
        state: the same state as bytes.
    """

    __slots__ = ("_fields", "_refills", "state")

    def __init__(self, state: bytes | None, attributes: dict[str, Any]) -> None:
        """Take down ``attributes``, the ``__dict__`` of an object whose state is ``state``."""
        self.state = state
        self._fields = {name: value for name, value in attributes.items() if not name.startswith("_")}
        self._refills = _walk(self._fields.values())

    def is_of(self, attributes: dict[str, Any]) -> bool:
        """Tell whether the fields are still the same Python objects."""
        fields = self._fields
        return all(attributes.get(name, _ABSENT) is value for name, value in fields.items())

    def restore(self, attributes: dict[str, Any]) -> None:
        """Put every container and field back in place."""
        for refill in self._refills:
            refill()
        for name in [name for name in attributes if not name.startswith("_")]:
            del attributes[name]
        attributes.update(self._fields)


def _walk(values: Iterable[Any]) -> list[Refill]:
    refills: list[Refill] = []
    found: dict[int, Any] = {}  # holds what it has seen, so that no id is used twice
    todo = list(values)
    while todo:
        value = todo.pop()
        if isinstance(value, _LEAVES) or id(value) in found:
            continue
        found[id(value)] = value
        _take_contents(value, todo, refills)
        _take_attributes(value, todo, refills)
    return refills


def _take_contents(value: Any, todo: list[Any], refills: list[Refill]) -> None:
    """Take down what a container of the standard library holds, with the operations of its own class, not a user's."""
    kind: Any = next((each for each in _CONTAINERS if isinstance(value, each)), None)
    if kind is None:
        return
    if kind is bytearray:
        refills.append(partial(bytearray.__setitem__, value, slice(None), bytes(value)))
        return
    held: list[Any] = list(kind.items(value) if kind in _MAPPINGS else kind.__iter__(value))
    todo += held
    if kind not in _FROZEN:
        refills.append(partial(_refill, kind, value, held))


def _refill(kind: Any, target: Any, held: list[Any]) -> None:
    kind.clear(target)
    (kind.extend if kind in _SEQUENCES else kind.update)(target, held)


def _take_attributes(value: Any, todo: list[Any], refills: list[Refill]) -> None:
    """Take down the attributes of a model, a dataclass or another instance, in its ``__dict__`` and its slots."""
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        todo.append(attributes)
    for slot in _slots(value.__class__):
        held = slot.__get__(value) if _has(slot, value) else _ABSENT
        if held is not _ABSENT:
            todo.append(held)
        refills.append(partial(_refill_slot, slot, value, held))


@lru_cache(maxsize=1_024)
def _slots(kind: Any) -> tuple[MemberDescriptorType, ...]:
    classes: tuple[type[Any], ...] = kind.__mro__
    return tuple(
        member
        for each in classes
        if each.__flags__ & _HEAP_TYPE
        for member in vars(each).values()
        if isinstance(member, MemberDescriptorType)
    )


def _has(slot: MemberDescriptorType, value: Any) -> bool:
    try:
        slot.__get__(value)
    except AttributeError:
        return False
    return True


def _refill_slot(slot: MemberDescriptorType, target: Any, held: Any) -> None:
    if held is not _ABSENT:
        slot.__set__(target, held)
    elif _has(slot, target):
        slot.__delete__(target)
