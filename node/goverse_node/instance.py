"""The live Python object of an activation, and the bytes that it stands for.

``base`` is always the encoded form of the state to fall back to. It is taken from the live object itself (not from the
store), so two encodings are equal exactly when the state is: a set, for example, keeps its own order.
"""

from __future__ import annotations

from typing import Any

from goverse.errors import MethodFailed, TooLarge
from goverse.model import json_values
from goverse.model.keys import ObjectKey
from goverse.model.records import StoredObject
from goverse.objects.complaints import in_words
from goverse.objects.spec import TypeSpec

# Measured by benchmarks/memory.py. Live values and encoded state together take 2 times their JSON for text, 7 for
# numbers, 14 for models. What is counted too small breaks the bound, what is counted too large wastes some of it.
_OVERHEAD_BYTES = 1_000  # activation, instance and table entries
_EXPANSION = 8


class Instance:
    """One object in memory."""

    __slots__ = ("_attributes", "_extra", "base", "commit_seq", "creation", "exists", "object", "spec", "version")

    def __init__(self, spec: TypeSpec, key: ObjectKey, stored: StoredObject | None, version: int = 0) -> None:
        """Bring the stored state to life, or start with the defaults where there is none.

        Raises:
            GoverseError: the stored state does not fit the class.
        """
        self.spec = spec
        self.exists = stored is not None and stored.state is not None
        self.version = version if stored is None else stored.version
        self.commit_seq = 0 if stored is None else stored.commit_seq
        self.creation = None if stored is None else stored.creation
        self._extra: dict[str, Any] = {}
        self.object: Any = object.__new__(spec.cls)
        attributes: dict[str, Any] = self.object.__dict__
        attributes["_goverse_key"] = key
        for name, make in spec.transient.items():
            attributes[name] = make()
        if stored is not None and stored.state is not None:
            self._adopt(state_values(spec, stored.state, stored.state_version))
        else:
            attributes.update(spec.state.fresh())
        self._attributes = len(attributes)
        self.base: bytes | None = None if self.missing() else self.dump()

    def _adopt(self, values: dict[str, Any]) -> None:
        """Set the persistent fields; what the class does not declare is kept aside and written back."""
        if len(values) > len(self.spec.state.fields):
            fields = set(self.spec.state.fields)
            self._extra = {name: values.pop(name) for name in list(values) if name not in fields}
        self.object.__dict__.update(values)

    def missing(self) -> list[str]:
        """Return the fields that have no value yet."""
        return [field for field in self.spec.state.required if field not in self.object.__dict__]

    def dump(self) -> bytes:
        """Return the present state as JSON.

        Raises:
            MethodFailed: a field has no value or one of a wrong type, or an undeclared attribute was set.
        """
        attributes: dict[str, Any] = self.object.__dict__
        if len(attributes) != self._attributes:
            self._refuse_undeclared(attributes)
        try:
            values = {field: attributes[field] for field in self.spec.state.fields}
        except KeyError as error:
            raise MethodFailed(
                f"field {error} of {self.spec.name} has no value; give it a default or set it in on_create"
            ) from error
        if self._extra:
            values.update(self._extra)
        return self.spec.state.dump(values)

    def _refuse_undeclared(self, attributes: dict[str, Any]) -> None:
        for name in attributes:
            if not name.startswith("_") and name not in self.spec.state.fields:
                raise MethodFailed(
                    f"attribute {name!r} of {self.spec.name} is not declared and would be lost; annotate "
                    f"it in the class, "
                    "or begin its name with '_' to make it transient"
                )
        self._attributes = len(attributes)

    def accept(self, state: bytes, bytes_max: int) -> None:
        """Make sure that a changed state may be committed.

        Raises:
            MethodFailed: it breaks a constraint of its class.
            TooLarge: it is larger than ``bytes_max``.
        """
        if len(state) > bytes_max:
            raise TooLarge(
                f"the state of this {self.spec.name} would be {len(state)} bytes; {bytes_max} are allowed. "
                "Split it over several objects."
            )
        self.spec.state.check(state)

    def restore(self, state: bytes | None) -> None:
        """Put the persistent fields back to ``state``; None puts back the defaults.

        Raises:
            MethodFailed: ``state`` breaks a constraint of the class; nothing was changed.
        """
        values = self.spec.state.fresh() if state is None else self.spec.state.load(state)
        attributes: dict[str, Any] = self.object.__dict__
        for name in [name for name in attributes if not name.startswith("_")]:
            del attributes[name]
        self._adopt(values)
        self._attributes = len(attributes)

    def rebase(self) -> None:
        """Take the live state as the one to fall back to, after it was rebuilt from bytes."""
        self.base = None if self.missing() else self.dump()

    @property
    def shows_base(self) -> bool:
        """Whether ``base`` is what callers may see: no view, no hidden field, no member of another release."""
        return self.spec.view is None and not self.spec.state.hidden and not self._extra

    @property
    def resident_bytes(self) -> int:
        """Estimated memory of the activation in bytes."""
        return _OVERHEAD_BYTES + _EXPANSION * len(self.base or b"")


def state_values(spec: TypeSpec, state: bytes, state_version: int) -> dict[str, Any]:
    """Return the field values of a stored state, migrated to the class's present version.

    Raises:
        DataNewer: a newer class wrote it.
        MethodFailed: it does not fit the class, or a migration is missing or failed.
    """
    if state_version == spec.policy.state_version:
        return spec.state.load(state)
    try:
        state = json_values.encode(spec.migrate(json_values.decode(state), state_version))
    except (TypeError, ValueError) as error:
        raise MethodFailed(f"a migration of {spec.name} returned values without a JSON form: {error}") from error
    try:
        return spec.state.load(state)
    except MethodFailed as error:
        if "errors" not in error.extra:
            raise
        told = in_words(error.extra["errors"])
        raise MethodFailed(
            f"what the migration from state version {state_version} returned does not fit class {spec.name}: {told}",
            **error.extra,
        ) from error
