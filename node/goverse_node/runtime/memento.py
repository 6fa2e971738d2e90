"""Memento: a snapshot of the containers of a state, from which the state can be restored in place.

A turn that waits may hold references into the state::

    items = self.items
    await self.ref(Other, "o").work()
    items.append(1)

If another turn of the object is undone during the ``await``, rebuilding the state from its bytes would replace the
list. ``items`` would then no longer belong to the object, and the appended value would be acknowledged and lost. A
memento refills the same lists, dicts, sets, deques, models and dataclasses instead, nested ones included.

Taking a memento walks over the whole state and costs about twenty times as much as encoding it to JSON. So it is taken
only before a step of a turn beside which another one waits, and kept until the state changes or no turn runs.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import FunctionType, MemberDescriptorType, ModuleType, NoneType
from typing import Any, NamedTuple
from uuid import UUID

_SCALARS = (str, int, bool, float, complex, bytes, NoneType, Decimal, date, datetime, time, timedelta, UUID)
_LEAVES = (*_SCALARS, Enum, type, FunctionType, ModuleType)
_EXACT_SCALARS = frozenset(_SCALARS)  # fast path for most values
_SEQUENCES: tuple[Any, ...] = (list, deque)
_MAPPINGS: tuple[Any, ...] = (OrderedDict, dict)  # OrderedDict first: its order differs from that of its dict part
_FROZEN: tuple[Any, ...] = (tuple, frozenset)
_CONTAINERS: tuple[Any, ...] = (*_SEQUENCES, *_MAPPINGS, set, bytearray, *_FROZEN)
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: created by a class statement, so its slots are writable
_ABSENT: Any = object()


class _Kind(NamedTuple):
    """Structure of the instances of a class.

    Attributes:
        leaf: True if instances are treated as immutable.
        native: the container type of the standard library that it derives from, or None. The operations of that type
            are used, not overrides of a subclass.
        slots: its writable slots.
        plain: True if instances have no attributes.
    """

    leaf: bool
    native: Any
    slots: tuple[MemberDescriptorType, ...]
    plain: bool


class Memento:
    """The contents of all containers that are reachable from an object's fields.

    Attributes:
        state: the same state, encoded.
    """

    __slots__ = ("_contents", "_dicts", "_fields", "_slots", "state")

    def __init__(self, state: bytes | None, attributes: dict[str, Any]) -> None:
        """Record ``attributes``, the ``__dict__`` of an object whose encoded state is ``state``."""
        self.state = state
        self._fields = {name: value for name, value in attributes.items() if not name.startswith("_")}
        self._contents: list[tuple[Any, Any, Any]] = []
        self._dicts: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._slots: list[tuple[MemberDescriptorType, Any, Any]] = []
        self._walk(self._fields.values())

    def is_of(self, attributes: dict[str, Any]) -> bool:
        """Return True if the fields are still the same Python objects."""
        return all(attributes.get(name, _ABSENT) is value for name, value in self._fields.items())

    def restore(self, attributes: dict[str, Any]) -> None:
        """Restore the contents of every container, and every field."""
        for native, target, held in self._contents:
            native.clear(target)
            (native.extend if native in _SEQUENCES or native is bytearray else native.update)(target, held)
        for present, before in self._dicts:
            present.clear()
            present.update(before)
        for slot, target, held in self._slots:
            _refill(slot, target, held)
        for name in [name for name in attributes if not name.startswith("_")]:
            del attributes[name]
        attributes.update(self._fields)

    def _walk(self, values: Iterable[Any]) -> None:
        found: dict[int, Any] = {}  # refers to the visited values, so that no id is reused
        todo = list(values)
        while todo:
            value = todo.pop()
            if value.__class__ in _EXACT_SCALARS or id(value) in found:
                continue
            kind = _kind(value.__class__)
            if kind.leaf:
                continue
            found[id(value)] = value
            if kind.native is not None:
                self._take_contents(value, kind.native, todo)
            if not kind.plain:
                self._take_attributes(value, kind.slots, todo)

    def _take_contents(self, value: Any, native: Any, todo: list[Any]) -> None:
        held: Any
        if native is bytearray:
            held = bytes(value)
        elif native in _MAPPINGS:
            held = list(native.items(value))
            todo += native.keys(value)
            todo += native.values(value)
        else:
            held = list(native.__iter__(value))
            todo += held
        if native not in _FROZEN:
            self._contents.append((native, value, held))

    def _take_attributes(self, value: Any, slots: tuple[MemberDescriptorType, ...], todo: list[Any]) -> None:
        """Record the attributes of a model, a dataclass or another instance, from its ``__dict__`` and its slots."""
        attributes: Any = getattr(value, "__dict__", None)
        if attributes.__class__ is dict:
            self._dicts.append((attributes, dict(attributes)))
            todo += attributes.values()
        for slot in slots:
            try:
                held = slot.__get__(value)
            except AttributeError:
                held = _ABSENT
            else:
                todo.append(held)
            self._slots.append((slot, value, held))


@lru_cache(maxsize=2_048)
def _kind(of: Any) -> _Kind:
    native = next((each for each in _CONTAINERS if issubclass(of, each)), None)
    classes: tuple[type[Any], ...] = of.__mro__
    slots = tuple(
        member
        for each in classes
        if each.__flags__ & _HEAP_TYPE
        for member in vars(each).values()
        if isinstance(member, MemberDescriptorType)
    )
    plain = of in _CONTAINERS or of in (defaultdict, Counter)
    return _Kind(issubclass(of, _LEAVES), native, slots, plain)


def _refill(slot: MemberDescriptorType, target: Any, held: Any) -> None:
    if held is not _ABSENT:
        slot.__set__(target, held)
        return
    with suppress(AttributeError):  # the slot is still empty
        slot.__delete__(target)
