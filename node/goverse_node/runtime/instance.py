"""The live Python object of an activation, and the encoded state that it was built from.

``base`` is the encoded state to return to when a turn fails. It is encoded from the live object, not copied from the
store, so that two encodings are equal exactly if the states are. A set, for example, keeps its iteration order.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Final

from pydantic_core import PydanticSerializationError

from goverse.errors import (
    DataNewer,
    GoverseError,
    MethodFailed,
    ObjectExists,
    ObjectNotFound,
    StateInvalid,
    StateNotStorable,
    TooLarge,
    VersionMismatch,
)
from goverse.model import json_values
from goverse.model.frames import MUST_EXIST, Request
from goverse.model.keys import ObjectKey
from goverse.model.records import StoredObject
from goverse.objects.spec import TypeSpec
from goverse.objects.validation_errors import in_words
from goverse_node.runtime.memento import Memento

logger = logging.getLogger("goverse.node")

# Measured by benchmarks/memory.py. Live values and encoded state together take 2 times their JSON for text, 7 for
# numbers, 14 for models. An estimate that is too small breaks the memory bound; one that is too large wastes memory.
_OVERHEAD_BYTES = 1_000  # activation, instance and table entries
_EXPANSION = 8
_ABSENT: Final = object()
_JSON_ERRORS: Final = (TypeError, ValueError, PydanticSerializationError)  # the text of other errors is not known
_NOT_COMPARED: Final = (
    "; GET does not show {}, so the arguments are not compared with those of the creation. To retry a request, send "
    "the Idempotency-Key of the first one again"
)


class Instance:
    """An instance of the user's class, with its encoded state, version and creation digest."""

    __slots__ = (
        "_attributes",
        "_extra",
        "_keeps_unknown",
        "_names",
        "_proven",
        "_seen",
        "_seen_body",
        "_was_written",
        "activated",
        "base",
        "commit_seq",
        "creation",
        "exists",
        "object",
        "spec",
        "unfit",
        "version",
    )

    unfit: GoverseError | None
    """The error if the stored state does not fit the class, else None. Such an object can only be deleted."""
    activated: bool
    """True once ``on_activate`` has run on this object, or if the type has none."""

    def __init__(self, spec: TypeSpec, key: ObjectKey, stored: StoredObject | None, version: int = 0) -> None:
        """Build the object from its stored state, or from the defaults if nothing is stored.

        Raises:
            GoverseError: the stored state does not fit the class.
        """
        self.unfit = None
        self.activated = "on_activate" not in spec.hooks
        self.spec = spec
        self.exists = stored is not None and stored.state is not None
        self.version = version if stored is None else stored.version
        self.commit_seq = 0 if stored is None else stored.commit_seq
        self.creation = None if stored is None else stored.creation
        self._extra: dict[str, Any] = {}
        self._keeps_unknown = False
        self._seen: dict[str, Any] = {}  # the field values that ``_seen_body`` was encoded from
        self._seen_body: bytes | None = None
        self._proven: bytes | None = None  # an encoded state that is known to decode to the same values
        self._was_written = False  # encoded since the values were last known to equal the decoded ones
        self.object: Any = object.__new__(spec.cls)
        attributes: dict[str, Any] = self.object.__dict__
        attributes["_goverse_key"] = key
        for name, make in spec.transient.items():
            attributes[name] = make()
        if stored is not None and stored.state is not None:
            self._adopt(state_values(spec, key, stored.state, stored.state_version))
        else:
            attributes.update(spec.state.fresh())
        self._names: tuple[str, ...] | None = None
        self._note_names(attributes)
        self.base: bytes | None = None if self.missing() else self.dump()
        if stored is not None and stored.state is not None and self.base is not None:
            self._adopt_unknown(stored)
        self._was_written = False

    @classmethod
    def load(cls, spec: TypeSpec, key: ObjectKey, stored: StoredObject | None) -> Instance:
        """Return the object for an activation; an instance without fields if the stored state does not fit the class.

        Raises:
            DataNewer: the state was written by a newer class.
        """
        try:
            return cls(spec, key, stored)
        except StateInvalid as error:
            assert stored is not None
            extra = {"object": str(key), "reason": error.detail}
            logger.error("a stored state does not fit its class", exc_info=error, extra=extra)
            instance = cls(spec, key, None, stored.version)
            instance.exists, instance.base, instance.unfit, instance.activated = True, None, error, False
            instance.creation = stored.creation
            return instance

    def _adopt(self, values: dict[str, Any]) -> None:
        """Set the persistent fields. Members that the class does not declare are kept and written back."""
        if len(values) > len(self.spec.state.fields):
            fields = set(self.spec.state.fields)
            self._extra = {name: values.pop(name) for name in list(values) if name not in fields}
            self._seen_body = None
        self.object.__dict__.update(values)

    def _adopt_unknown(self, stored: StoredObject) -> None:
        """Keep undeclared members of nested models, and log the undeclared members of the type once."""
        state, spec = self.spec.state, self.spec
        unknown = list(self._extra)
        if stored.state != self.base and stored.state_version == spec.policy.state_version:
            assert stored.state is not None
            assert self.base is not None
            nested = state.attach_unknown(self.object.__dict__, stored.state, self.base)
            if nested:
                unknown += nested
                self._keeps_unknown = True
                self.base = self.dump()
        if unknown:
            state.tell_unknown(spec.name, unknown)

    # --- conditions of requests ---------------------------------------------------------------------------------------

    @property
    def key(self) -> ObjectKey:
        key: ObjectKey = self.object.__dict__["_goverse_key"]
        return key

    def check_version(self, request: Request) -> None:
        """Check the version that a request requires (``If-Match``).

        Raises:
            VersionMismatch: the object has another version, or it does not exist.
        """
        if request.if_match is not None:
            present = self.version if self.exists else 0
            if request.if_match == MUST_EXIST and not present:
                raise VersionMismatch("the object does not exist", version=0)
            if request.if_match not in (present, MUST_EXIST):
                raise VersionMismatch(f"the object is at version {present}, not {request.if_match}", version=present)

    def check_repeated_creation(self, request: Request, digest: bytes, names: Iterable[str]) -> None:
        """Check that a create describes this object, which exists: ``digest`` and ``names`` are of its arguments.

        Raises:
            ObjectExists: the create is exclusive, or its arguments differ from those of the creation.
            VersionMismatch: the object has another version than the create requires.
            StateInvalid: the stored state does not fit the class.
        """
        if request.if_match == 0:
            raise self._already_exists("")
        self.check_version(request)
        if self.unfit is not None:
            raise self.unfit
        if unseen := [name for name in names if not self.spec.shows(name)]:
            raise self._already_exists(_NOT_COMPARED.format(", ".join(unseen)))
        if self.creation not in (None, digest):
            raise self._already_exists(" and was created with other arguments")

    def _already_exists(self, how: str) -> ObjectExists:
        return ObjectExists(f"{self.key} already exists{how}", object=str(self.key), version=self.version)

    def not_found(self, hint: str = "") -> ObjectNotFound:
        """Return the error for a request that needs the object to exist."""
        return ObjectNotFound(f"{self.key} does not exist{'; ' if hint else ''}{hint}", object=str(self.key))

    # --- state --------------------------------------------------------------------------------------------------------

    def missing(self) -> list[str]:
        """Return the fields that have no value yet."""
        return [field for field in self.spec.state.required if field not in self.object.__dict__]

    def dump(self) -> bytes:
        """Return the current state as JSON.

        Raises:
            MethodFailed: a field has no value or one of a wrong type, or an undeclared attribute was set.
        """
        attributes: dict[str, Any] = self.object.__dict__
        if len(attributes) != self._attributes or (self._names is not None and tuple(attributes) != self._names):
            self.refuse_undeclared()
        if self._seen_body is not None:
            for field, value in self._seen.items():
                if attributes.get(field, _ABSENT) is not value:
                    break
            else:
                return self._seen_body
        try:
            values = {field: attributes[field] for field in self.spec.state.fields}
        except KeyError as error:
            self._was_written = True
            self.refuse_undeclared()
            raise MethodFailed(
                f"field {error} of {self.spec.name} has no value; give it a default or set it in on_create"
            ) from error
        state = self.spec.state
        if self._extra:
            values.update(self._extra)
        elif state.is_immutable:
            self._seen = values
            self._seen_body = self._proven = state.dump_plain(values)
            self._was_written = self._proven is None
            if self._seen_body is None:
                self._seen_body = state.dump(values)
            return self._seen_body
        self._was_written = True
        return state.dump_with_unknown(values) if self._keeps_unknown else state.dump(values)

    def refuse_undeclared(self) -> None:
        """Check that every attribute is a declared field or transient.

        Raises:
            MethodFailed: an attribute is neither.
        """
        attributes: dict[str, Any] = self.object.__dict__
        fields = self.spec.state.fields
        for name in attributes:
            if not name.startswith("_") and name not in fields:
                near = get_close_matches(name, fields, 1, 0.6)
                raise MethodFailed(
                    f"attribute {name!r} of {self.spec.name} is not declared and would be lost; "
                    f"{f'did you mean {near[0]!r}? Otherwise ' if near else ''}annotate it in the class, or begin its "
                    "name with '_' to make it transient"
                )
        self._note_names(attributes)

    def _note_names(self, attributes: dict[str, Any]) -> None:
        """Record the attributes, so that ``dump`` detects a new one.

        Every encoded state has all fields. If fields and the key are the only attributes, comparing their number is
        enough. If there are transient attributes, the names are compared too: one of them could have been deleted and
        an undeclared one added.
        """
        self._attributes = len(attributes)
        transient = sum(name.startswith("_") for name in attributes) > 1
        self._names = tuple(attributes) if transient else None

    def accept(self, state: bytes, bytes_max: int) -> bytes:
        """Check that a changed state may be committed. Return it, encoded again if numbers were promoted.

        Raises:
            MethodFailed: it breaks a constraint of its class.
            StateNotStorable: a value would change when it is stored and loaded.
            TooLarge: it is larger than ``bytes_max``.
        """
        if len(state) > bytes_max:
            raise TooLarge(
                f"the state of this {self.spec.name} would be {len(state)} bytes; {bytes_max} are allowed. "
                "Split it into several objects."
            )
        if state is self._proven:
            return state
        promoted = self.spec.state.check(state, self.object.__dict__)
        if promoted:
            state = self.dump()
        self._was_written = False
        return state

    def differs_from(self, state: bytes) -> GoverseError | None:
        """Return the error if the fields encode to ``state`` but differ from the values that it decodes to, else None.

        Example: a field of a model was replaced by an instance of another class with the same JSON. Numbers are
        promoted.
        """
        if not self._was_written:
            return None
        if not self.spec.state.is_surely_loaded(self.object.__dict__):
            try:
                self.spec.state.check(state, self.object.__dict__)
            except StateNotStorable as error:
                return error
            except MethodFailed:
                return None  # nothing is stored now, and a validator may depend on the current time
        if self.spec.state.is_immutable:
            self._was_written = False
        return None

    def restore(self, state: bytes | None) -> None:
        """Replace the persistent fields by the values that ``state`` decodes to; None means the defaults.

        Raises:
            MethodFailed: ``state`` breaks a constraint of the class. The fields are unchanged.
        """
        values = self.spec.state.fresh() if state is None else self.spec.state.load(state)
        attributes: dict[str, Any] = self.object.__dict__
        for name in [name for name in attributes if not name.startswith("_")]:
            del attributes[name]
        self._adopt(values)
        self._note_names(attributes)
        if self._keeps_unknown and state is not None:
            self.spec.state.attach_unknown(attributes, state, self.spec.state.dump(values))

    def remember(self, state: bytes | None) -> Memento:
        """Return a memento of the live state, whose encoded form is ``state``."""
        return Memento(state, self.object.__dict__)

    def is_of(self, memento: Memento) -> bool:
        """Return True if the fields are still the Python objects that ``memento`` recorded."""
        return memento.is_of(self.object.__dict__)

    def put_back(self, memento: Memento) -> bytes | None:
        """Restore the live state in place. Return its bytes, which may differ in the order of a set.

        Raises:
            MethodFailed: the state differs from before, because it contains a mutable value that a memento cannot
                restore.
        """
        attributes: dict[str, Any] = self.object.__dict__
        memento.restore(attributes)
        self._note_names(attributes)
        if memento.state is None:
            return None
        state, load = self.dump(), self.spec.state.load
        if state != memento.state and load(state) != load(memento.state):
            raise MethodFailed(f"the state of {self.spec.name} could not be restored in place")
        return state

    def rebase(self) -> None:
        """Make the live state the new ``base``, after it was rebuilt from bytes."""
        self.base = None if self.missing() else self.dump()

    @property
    def shows_base(self) -> bool:
        """True if callers may see ``base`` as it is: no view, no hidden field, no undeclared member."""
        return self.spec.view is None and not self.spec.state.hidden and not self._extra

    @property
    def resident_bytes(self) -> int:
        """Estimated memory of the activation in bytes."""
        return _OVERHEAD_BYTES + _EXPANSION * len(self.base or b"")


def state_values(spec: TypeSpec, key: ObjectKey, state: bytes, state_version: int) -> dict[str, Any]:
    """Return the field values of a stored state, migrated to the class's current state version.

    Raises:
        DataNewer: the state was written by a newer class.
        StateInvalid: it does not fit the class, or a migration is missing or failed.
    """
    if state_version == spec.policy.state_version:
        try:
            return spec.state.load(state)
        except MethodFailed as error:
            raise invalid(key, error) from error
    try:
        state = json_values.encode_finite(spec.migrate(json_values.decode(state), state_version))
    except MethodFailed as error:
        raise invalid(key, error) from error
    except DataNewer:
        raise
    except BaseException as error:  # of any class: the values may be nested too deeply, or of the application's classes
        reason = error if type(error) in _JSON_ERRORS else type(error).__name__
        failed = MethodFailed(f"a migration of {spec.name} returned values without a JSON form: {reason}")
        raise invalid(key, failed) from error
    try:
        return spec.state.load(state)
    except MethodFailed as error:
        returned = f"the result of the migration from state version {state_version} does not fit class {spec.name}"
        raise invalid(key, MethodFailed(returned, **error.extra)) from error


def invalid(key: ObjectKey, error: MethodFailed) -> StateInvalid:
    """Return the error for callers of an object whose state does not fit its class, with the possible remedies."""
    problems = error.extra.get("errors")
    where = f": {in_words(problems)}" if problems else ""
    fact, _, advice = error.detail.partition("; ")
    advice = f"{advice[:1].upper()}{advice[1:]}. " if advice else ""
    return StateInvalid(
        f"{key} cannot be loaded: {fact}{where}. {advice}`goverse dump` shows the stored JSON. "
        "Fix the class, or delete the object: DELETE works, without on_delete, if the type has delete='anyone'.",
        **error.extra,
    )
