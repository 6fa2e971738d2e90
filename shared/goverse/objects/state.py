"""The codec of a class's state: JSON in the store, attributes of the object in memory.

Reading is lax, because an object wrote the state. Writing is strict: a state is committed only if its stored form loads
as the same values. Aliases are written and read; states of older releases, written under the field names, are read too.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, NotRequired, Required, cast  # Pydantic asks for these below Python 3.12

import orjson
from pydantic import PydanticUserError, ValidationError
from pydantic_core import ErrorDetails, SchemaSerializer, SchemaValidator

from goverse.errors import DefinitionError, MethodFailed, StateNotStorable
from goverse.model import json_values
from goverse.objects import storable, unknown_members
from goverse.objects.adapters import STATE, WRITING, members_adapter
from goverse.objects.defaults import NO_VALUE, default_maker, has_default, restorer, split
from goverse.objects.fidelity import remedy, same, settle
from goverse.objects.loaded_classes import Column, column
from goverse.objects.passing import check_document
from goverse.objects.schemas import REF_TEMPLATE, JsonSchema, result_schema, show_default, without_members
from goverse.objects.unencodable import Declared, type_name, unencodable
from goverse.objects.validation_errors import (
    changed,
    few_problems,
    field_problems,
    in_words,
    is_absent,
    refusal_in_words,
    unknown_type,
    withheld_in_words,
)
from goverse.objects.value_text import shown

logger = logging.getLogger("goverse.objects")


class State:
    """The persistent fields of one class: JSON in the store, attributes on the object."""

    def __init__(
        self,
        name: str,
        hints: Mapping[str, Any],
        defaults: Mapping[str, Any],
        hidden: frozenset[str] = frozenset(),
        *,
        has_view: bool = False,
    ) -> None:
        """Compile the fields; ``defaults`` are the class attributes of the fields that have one.

        Errors contain no values of ``hidden`` fields. If the class has a view, they contain no values of any field,
        because the view may withhold it from callers.

        Raises:
            DefinitionError: Pydantic does not support a type, a type can never be stored, or a default does not fit.
        """
        self._name = name
        self.fields: tuple[str, ...] = tuple(hints)
        self.hidden = hidden
        self._withheld = frozenset(hints) if has_view else hidden
        declared = {field: split(hint, defaults.get(field, NO_VALUE)) for field, hint in hints.items()}
        self._types: Mapping[str, Any] = {field: hint for field, (hint, _) in declared.items()}
        self._makers = {
            field: default_maker(default) for field, (_, default) in declared.items() if has_default(default)
        }
        self.required: tuple[str, ...] = tuple(field for field in hints if field not in self._makers)
        members: dict[str, Any] = {
            field: (NotRequired if field in self._makers else Required)[hint] for field, (hint, _) in declared.items()
        }
        try:
            self._adapter = members_adapter(f"{name}State", members, STATE)
        except (PydanticUserError, NameError, TypeError) as error:
            wrong = unknown_type(name, members, error)
            raise DefinitionError(f"{wrong.detail}; begin the name with '_' to keep it in memory only") from error
        # Set on the outermost schema only: as a setting, dataclasses inside would inherit it.
        self._schema = storable.with_unknown_members(self._adapter.core_schema)
        self._compile()
        self._examine(self._schema)
        self._check_defaults()
        if not has_view and (not storable.is_plain(self._schema) or storable.has_annotations(self._schema)):
            check_document(name, partial(self.json_schema, REF_TEMPLATE), self._types)

    def _compile(self) -> None:
        # The text of Pydantic's errors goes to the log, which must not contain values of hidden fields either
        self._validate_json = SchemaValidator(self._schema, {"hide_input_in_errors": bool(self.hidden)}).validate_json
        self._to_json = SchemaSerializer(self._schema, WRITING).to_json
        if storable.has_aliases(self._schema):
            self._validate_json = partial(self._validate_json, by_alias=True, by_name=True)
            self._to_json = partial(self._to_json, by_alias=True)

    def _examine(self, schema: Mapping[str, Any]) -> None:
        """Choose for each field how its value is compared with the stored form.

        Raises:
            DefinitionError: a type can never be stored.
        """
        found = storable.examine(schema)
        if found.problems:
            problem = found.problems[0]
            raise DefinitionError(f"{self._name}.{'.'.join(problem.path)}: {problem.reason}")
        exact = {field: storable.exact_class(node) for field, node in storable.fields_of(schema).items()}
        self._exact = tuple((field, kind) for field, kind in exact.items() if kind is not None)
        self._compared = tuple(field for field, kind in exact.items() if kind is None)
        # Values of these classes never change in place: an identical object has the same JSON
        self.is_immutable = not self._compared
        unconstrained = all(storable.is_unconstrained(node) for node in storable.fields_of(schema).values())
        self._is_plain = self.is_immutable and unconstrained
        self._floats = tuple(field for field, kind in self._exact if kind is float)
        self._columns = self._provable(schema)
        self._keepers = frozenset(found.transparent - found.converted)
        self._restorers: dict[str, Callable[[Any], Any]] = {}
        self._logged: set[str] = set()

    def _provable(self, schema: Mapping[str, Any]) -> tuple[tuple[str, Column], ...] | None:
        """Return the fast checks of the fields without an exact class, or None if a field has no fast check."""
        columns: list[tuple[str, Column]] = []
        for field, node in storable.fields_of(schema).items():
            if field in self._compared:
                made = column(schema, node)
                if made is None:
                    return None
                columns.append((field, made))
        return tuple(columns)

    def _check_defaults(self) -> None:
        """Check that a new object can be stored: its defaults have their declared types and survive storage.

        Raises:
            DefinitionError: a default does not.
        """
        try:
            values = self.fresh()
            self._restorers = {
                field: restore for field, value in values.items() if (restore := restorer(value)) is not None
            }
            loaded = cast("dict[str, Any]", self._validate_json(self.dump(values)))
        except MethodFailed as error:
            reason = error.detail.removesuffix(" Nothing was changed.")  # there is no object yet
            raise DefinitionError(f"{self._name}: a default does not fit its field: {reason}") from error
        except ValidationError as error:
            wrong = [item for item in error.errors() if item["type"] != "missing"]
            if wrong:
                field = wrong[0]["loc"][0]
                raise DefinitionError(
                    f"{self._name}.{field}: the default does not fit the field: {wrong[0]['msg']}"
                ) from error
            return
        self._restore_behaviour(loaded)
        for field, value in values.items():
            _, difference = settle(value, loaded.get(field))
            if difference is not None:
                path, message = changed(self._name, field, difference)
                raise DefinitionError(f"{path}: the default {message}")

    def _restore_behaviour(self, loaded: dict[str, Any]) -> None:
        """Restore properties of the defaults that JSON cannot express, such as the ``maxlen`` of a deque."""
        for field, restore in self._restorers.items():
            if field in loaded:
                loaded[field] = restore(loaded[field])

    def fresh(self) -> dict[str, Any]:
        """Return the defaults for a new object; required fields are missing."""
        return {field: make() for field, make in self._makers.items()}

    def load(self, body: bytes) -> dict[str, Any]:
        """Return the field values in ``body``; members that the class does not declare are kept unchanged.

        Raises:
            MethodFailed: the stored state does not fit the class, for example because a migration is missing.
        """
        try:
            values = cast("dict[str, Any]", self._validate_json(body))
        except ValidationError as error:
            raise MethodFailed(
                f"the stored state does not fit class {self._name}; {self._remedy(error)}",
                errors=self._problems(error),
            ) from error
        except BaseException as error:
            raise MethodFailed(f"a validator of {self._name} failed with an unexpected error") from error
        if self._restorers:
            self._restore_behaviour(values)
        if len(values) < len(self.fields) or values.keys() != set(self.fields):
            for field, make in self._makers.items():
                if field not in values:
                    values[field] = make()
        return values

    def _remedy(self, error: ValidationError) -> str:
        """Return advice for a stored state that does not fit the class; new fields only need a default."""
        migrate = "raise its state_version and add a migration"
        items = few_problems(error)
        absent = {str(item["loc"][0]) for item in items if is_absent(item)}
        if not absent or len(absent) < len(items):
            return migrate
        names = ", ".join(field for field, key in self._keys.items() if key in absent)
        return f"give {names} a default, or {migrate}"

    def _problems(self, error: ValidationError) -> list[dict[str, str]]:
        """Return the problems of the fields that do not fit.

        The path and message of a withheld field are replaced by a general text, because they may contain its values.
        """
        problems = field_problems(error)
        items = few_problems(error)
        for item, problem in zip(items, problems, strict=False):
            if is_absent(item):
                problem["message"] = "is missing"
        if not self._withheld:
            return problems
        names = {name: field for field in self._withheld for name in (field, self._keys[field])}
        withheld = {f"/{name.replace('~', '~0').replace('/', '~1')}": field for name, field in names.items()}
        of_field: dict[object, list[ErrorDetails]] = {}
        for item in items:
            of_field.setdefault(item["loc"][0] if item["loc"] else None, []).append(item)
        for item, problem in zip(items, problems, strict=False):
            pointer = "/" + problem["path"][1:].partition("/")[0]
            if pointer in withheld and not is_absent(item):
                field = withheld[pointer]
                wrong = withheld_in_words(of_field[item["loc"][0]], type_name(self._types[field]))
                problem.update(path=pointer, message=f"{self._why_withheld(field)} and {wrong}")
        return [problem for index, problem in enumerate(problems) if problem not in problems[:index]]

    def _why_withheld(self, field: str) -> str:
        return "is hidden" if field in self.hidden else "is not shown by the view"

    def dump(self, values: Mapping[str, Any]) -> bytes:
        """Return ``values`` as JSON.

        Raises:
            MethodFailed: a value has no JSON form or does not have its declared type.
        """
        try:
            return self._to_json(values, warnings="error")
        except BaseException as error:
            raise self._unencodable(values, error) from error

    def dump_plain(self, values: Mapping[str, Any]) -> bytes | None:
        """Return ``values`` as JSON if they certainly load as the same values, else None.

        This fast path covers fields of plain types without constraints and replaces both ``dump`` and ``check``. The
        bytes are the same as those of ``dump``. They are copied, because an activation keeps them for its life and
        orjson returns them in a buffer of at least 4 KiB.
        """
        if not self._is_plain:
            return None
        for field, kind in self._exact:
            if type(values[field]) is not kind:
                return None
        for field in self._floats:
            if not math.isfinite(values[field]):  # NaN and infinity have no JSON form
                return None
        try:
            return bytes(memoryview(orjson.dumps(values)))
        except orjson.JSONEncodeError:  # an integer of more than 64 bits, or half a surrogate pair
            return None

    def members(self, body: bytes | None) -> dict[str, Any]:
        """Return the JSON values in ``body`` by field name; empty if ``body`` is None."""
        if body is None:
            return {}
        values = cast("dict[str, Any]", json_values.decode(body))
        return {field: values[key] for field, key in self._keys.items() if key in values}

    def is_surely_loaded(self, live: Mapping[str, Any]) -> bool:
        """True if ``live`` certainly equals an acknowledged state that has the same JSON.

        The check costs about as much as writing the JSON. If it returns False, ``check`` decides.
        """
        if self._columns is None:
            return False
        for field, kind in self._exact:
            if type(live[field]) is not kind:
                return False
        return all(is_loaded([live[field]]) for field, is_loaded in self._columns)

    def _unencodable(self, values: Mapping[str, Any], error: BaseException) -> MethodFailed:
        """Return the error for values that cannot be written; Pydantic's text could show hidden values."""
        for field in [field for field in self.fields if field in values]:
            try:
                self._to_json({field: values[field]}, warnings="error")
            except BaseException:
                return unencodable(self._declared(field), values, self._to_json, self._validate_json)
        return MethodFailed(f"the values of {self._name} cannot be written together: {type(error).__name__}")

    def _declared(self, field: str) -> Declared:
        return Declared(
            self._name, field, self._keys[field], self._types[field], field in self._withheld, field in self.hidden
        )

    def check(self, body: bytes, live: dict[str, Any]) -> bool:
        """Check that a state loads as the values in memory, before it is committed.

        ``live`` are the attributes from which ``body`` was written. Numbers that the declared type promotes (an int in
        a float field) are replaced in ``live``; returns True if there were any.

        Raises:
            MethodFailed: the state breaks a constraint of the class.
            StateNotStorable: a value would change when it is stored and loaded.
        """
        try:
            loaded = cast("dict[str, Any]", self._validate_json(body))
        except ValidationError as error:
            self._refuse_infinite(live)
            raise self._broken(live, error) from error
        except BaseException as error:
            raise MethodFailed(f"a validator of {self._name} failed with an unexpected error") from error
        promoted = False
        for field, kind in self._exact:
            if type(live[field]) is not kind:
                self._settle(field, live, loaded)
                promoted = True
        return self._differ(live, loaded) or promoted if self._compared else promoted

    def _broken(self, live: Mapping[str, Any], error: ValidationError) -> MethodFailed:
        """Return the error for a state that breaks a constraint; notes for the log contain the values."""
        problems = self._problems(error)
        failed = MethodFailed(
            f"the method left {self._name} in a state that breaks its own declaration: {in_words(problems)}. Nothing "
            "was changed; raise a BusinessError before such a value is assigned, or change the declaration.",
            errors=problems,
        )
        wrong: dict[object, str] = {}
        for item in few_problems(error):
            wrong.setdefault(item["loc"][0] if item["loc"] else None, refusal_in_words(item))
        for field, key in self._keys.items():
            if key in wrong and field not in self.hidden:
                reason = f" ({wrong[key]})" if field in self._withheld else ""
                failed.add_note(f"{field} = {shown(live.get(field))}{reason}")
        return failed

    def _refuse_infinite(self, live: dict[str, Any]) -> None:
        """Check float fields for NaN and infinity, whose JSON is ``null``.

        Raises:
            StateNotStorable: a field holds such a value.
        """
        for field, kind in self._exact:
            value = live.get(field)
            if kind is float and isinstance(value, float) and not math.isfinite(value):
                held = "a number" if field in self._withheld else value
                raise self._not_storable(
                    field,
                    f"{self._name}.{field} holds {held}, which JSON has no form for; declare it as "
                    "float | None and store None instead. Nothing was changed.",
                    {"path": f"/{field}", "message": "is neither finite nor None"},
                    f"{field} = {value}",
                )

    def _differ(self, live: dict[str, Any], loaded: dict[str, Any]) -> bool:
        """Compare the fields without an exact class; return True if numbers were promoted."""
        if self._restorers:
            self._restore_behaviour(loaded)
        promoted = False
        for field in self._compared:
            try:
                alike = same(live[field], loaded.get(field))
            except RecursionError:
                alike = False
            if not alike:
                self._settle(field, live, loaded)
                promoted = True
        return promoted

    def _settle(self, field: str, live: dict[str, Any], loaded: dict[str, Any]) -> None:
        live[field], difference = settle(live[field], loaded.get(field))
        if difference is not None:
            path, message = changed(self._name, field, difference)
            whole, steps = f"{path} {message}", (field, *difference.path)
            if field in self._withheld:
                path, steps, declared = f"{self._name}.{field}", (field,), type_name(self._types[field])
                message = f"{self._why_withheld(field)}, declared as {declared}, and would be loaded as another value"
                message = f"{message}; {remedy(difference)}"
            pointer = "".join(f"/{step}" for step in steps)
            problem = {"path": pointer, "message": message}
            raise self._not_storable(field, f"{path} {message}. Nothing was changed.", problem, whole)

    def _not_storable(self, field: str, detail: str, problem: dict[str, str], whole: str) -> StateNotStorable:
        """Return the error for a field; if a view withholds the field, ``whole`` is added as a note for the log."""
        failed = StateNotStorable(detail, errors=[problem])
        if field in self._withheld - self.hidden:
            failed.add_note(whole)
        return failed

    def attach_unknown(self, values: Mapping[str, Any], stored: bytes, written: bytes) -> list[str]:
        """Attach the members of nested models that this class does not declare; return their paths.

        ``values`` were loaded from ``stored`` and are written as ``written``.
        """
        if not self._keepers:
            return []
        before, after = json_values.decode(stored), json_values.decode(written)
        found: list[str] = []
        for field, key in self._keys.items():
            if key in before and key in after:
                paths = unknown_members.attach(values[field], before[key], after[key], self._keepers)
                found.extend(f"{field}.{path}" for path in paths)
        return found

    def tell_unknown(self, type_name: str, paths: list[str]) -> None:
        """Log stored members that the class does not declare, each path once.

        The log line is a warning, because a field that was renamed without a migration starts at its default.
        """
        new = [path for path in dict.fromkeys(paths) if path not in self._logged]
        if new:
            self._logged.update(new)
            logger.warning(
                "stored members are not declared: %s; they are kept but not used, and a renamed field starts at its "
                "default unless state_version is raised and a migration renames it",
                ", ".join(f"{type_name}.{path}" for path in new),
            )

    def dump_with_unknown(self, values: Mapping[str, Any]) -> bytes:
        """Return ``values`` as JSON, including the members that ``attach_unknown`` attached.

        Raises:
            MethodFailed: a value has no JSON form or does not have its declared type.
        """
        written = json_values.decode(self.dump(values))
        for field, key in self._keys.items():
            if key in written:
                unknown_members.restore(values[field], written[key])
        return json_values.encode(written)

    @cached_property
    def _keys(self) -> Mapping[str, str]:
        """The JSON name of each field."""
        _, root = storable.opened(self._schema)
        return {field: member.get("serialization_alias", field) for field, member in root["fields"].items()}

    def shown(self, body: bytes) -> bytes:
        """Return the state ``body`` without hidden fields and without members that the class does not declare.

        Undeclared members are removed because another release of the class may declare them as hidden.
        """
        values = cast("dict[str, Any]", json_values.decode(body))
        return json_values.encode({key: values[key] for key in values if key in self.shown_names})

    @cached_property
    def shown_names(self) -> frozenset[str]:
        """The JSON names of the fields that callers see."""
        return frozenset(key for field, key in self._keys.items() if field not in self.hidden)

    def json_schema(self, ref_template: str) -> JsonSchema:
        """Return the JSON schema of the state without hidden fields."""
        schema = result_schema(self._adapter, ref_template)
        schema["required"] = [key for field, key in self._keys.items() if field not in self.hidden]
        if not schema["required"]:  # otherwise all fields are required, because a stored state has all of them
            del schema["required"]
        schema.pop("additionalProperties", None)
        for field, make in self._makers.items():
            show_default(schema, self._to_json, field, make)
        return without_members(schema, {self._keys[field] for field in self.hidden}) if self.hidden else schema
