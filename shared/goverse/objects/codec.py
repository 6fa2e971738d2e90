"""Between JSON and Python: arguments and states, each checked by Pydantic validators made once per class.

Arguments are strict (the JSON type must be the declared one, unknown names are refused) because they come from
anywhere; models among them keep their own configuration.
States are lax when read, because an object wrote them, and complete when written: a state is committed only if its
stored form loads as the same values.

Aliases are written and read everywhere; a state is also read by the names of its fields, as older releases wrote it.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, NotRequired, Required, cast  # Pydantic asks for these below Python 3.12

from pydantic import BaseModel, PydanticUserError, ValidationError
from pydantic_core import PydanticSerializationError, SchemaSerializer, SchemaValidator

from goverse.errors import DefinitionError, InvalidArguments, MalformedRequest, MethodFailed, StateNotStorable
from goverse.model import json_text, json_values
from goverse.objects import storable, unknown_members
from goverse.objects.adapters import ARGUMENTS, STATE, WRITING, members_adapter, sender
from goverse.objects.complaints import changed, field_problems, in_words, refused, unknown_type
from goverse.objects.defaults import NO_VALUE, default_maker, has_default, is_shareable, restorer, split
from goverse.objects.fidelity import same, settle
from goverse.objects.schemas import JsonSchema, arguments_schema, result_schema, show_default, without_members

logger = logging.getLogger("goverse.objects")

_EMPTY_OBJECT = b"{}"
_SMALL = 2**1024


def _foreign(body: bytes) -> str | None:
    """Return what a body is that begins with the mark of another encoding."""
    if body.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark (BOM); send UTF-8 without one"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is UTF-16; send UTF-8"
    if body.startswith(b"\x1f\x8b"):
        return "it is compressed with gzip; send it uncompressed"
    return None


class Arguments:
    """The parameters of one method: JSON object in, keyword arguments out, and the other way for outgoing calls."""

    def __init__(self, name: str, function: Callable[..., Any], hints: Mapping[str, Any]) -> None:
        """Compile the signature.

        Raises:
            DefinitionError: a parameter cannot be passed by name, or its annotation is no type that Pydantic knows.
        """
        parameters = list(inspect.signature(function).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise DefinitionError(
                    f"{name}: parameter '{parameter}' cannot be passed by name; declare each parameter plainly"
                )
        self.names: tuple[str, ...] = tuple(parameter.name for parameter in parameters)
        self._positional = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        declared = {
            p.name: split(hints.get(p.name, Any), NO_VALUE if p.default is p.empty else p.default) for p in parameters
        }
        self._makers = {
            field: default_maker(default) for field, (_, default) in declared.items() if has_default(default)
        }
        self.required: tuple[str, ...] = tuple(field for field in self.names if field not in self._makers)
        # Python fills in the other defaults; these would be one value for all calls, or a ``Field(...)``
        self._filled = {field: make for field, make in self._makers.items() if not is_shareable(declared[field][1])}
        members = {
            field: (NotRequired if field in self._makers else Required)[hint] for field, (hint, _) in declared.items()
        }
        try:
            self._adapter = members_adapter(name, members, ARGUMENTS)
        except (PydanticUserError, NameError, TypeError) as error:
            raise unknown_type(name, members, error) from error
        self._schema: Mapping[str, Any] = self._adapter.core_schema
        self._validate_json = self._adapter.validator.validate_json
        self._to_json = sender(self._adapter)
        self._is_plain = storable.is_plain(self._schema) and not self._filled
        self._use_aliases()
        self._holds_decimals = storable.holds_decimals(self._schema)
        self._name = name
        self._plain_defaults: dict[str, Any] | None = None
        self._check_defaults(name)

    def _use_aliases(self) -> None:
        if not self._is_plain:
            self._to_json = partial(self._to_json, by_alias=True)
        if storable.has_aliases(self._schema):
            self._validate_json = partial(self._validate_json, by_alias=True)

    def _check_defaults(self, owner: str) -> None:
        """Refuse defaults that are not of their declared types."""
        defaults: dict[str, Any] = {}
        with suppress(MethodFailed):  # a factory that cannot run yet
            defaults = {field: make() for field, make in self._makers.items()}
        try:
            self._adapter.validator.validate_python(defaults, by_name=True)
        except ValidationError as error:
            wrong = [item for item in error.errors() if item["type"] != "missing"]
            if wrong:
                field = wrong[0]["loc"][0]
                raise DefinitionError(
                    f"{owner}: the default of parameter {field!r} does not fit its type: {wrong[0]['msg']}"
                ) from error
        except Exception as error:
            raise DefinitionError(f"{owner}: a validator failed for a default: {error!r}") from error

    def decode(self, body: bytes) -> dict[str, Any]:
        """Return the keyword arguments in ``body``, a JSON object or nothing.

        Raises:
            MalformedRequest: the body is not JSON.
            InvalidArguments: it does not fit the signature; ``errors`` has the path of each bad field.
        """
        try:
            values = cast("dict[str, Any]", self._validate_json(body or _EMPTY_OBJECT))
        except ValidationError as error:
            raise self._refusal(body, error) from error
        except Exception as error:
            raise MethodFailed("a validator of the arguments raised an error of its own") from error
        if body.count(b":") != len(values) and json_text.may_repeat_members(body, _members(values)):
            _check_text(body)
        return values if self._is_plain else self._completed(body, values)

    def _completed(self, body: bytes, values: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a method with other than plain parameters."""
        if json_text.may_be_infinite(body):
            _check_text(body)
        if self._holds_decimals and (texts := json_text.fractions(body)):
            values = self._decode_exactly(body, texts)
        for field, make in self._filled.items():
            if field not in values:
                values[field] = make()
        return values

    @cached_property
    def _exact_validator(self) -> SchemaValidator:
        schema = storable.with_exact_decimals(self._schema)
        return SchemaValidator(schema, _use_prebuilt=False)

    def _decode_exactly(self, body: bytes, texts: Mapping[float, set[str]]) -> dict[str, Any]:
        """Read decimals from their texts; numbers lose what a floating-point number cannot hold."""
        try:
            return cast("dict[str, Any]", self._exact_validator.validate_json(body, by_alias=True, context=texts))
        except ValidationError as error:
            raise self._refusal(body, error) from error

    def _refusal(self, body: bytes, error: ValidationError) -> MalformedRequest | InvalidArguments:
        """Return the error for a body that does not fit the signature."""
        problems = field_problems(error)
        if error.error_count() == 1 and error.errors(include_url=False, include_input=False)[0]["type"] == (
            "json_invalid"
        ):
            return MalformedRequest(f"the body is not JSON: {_foreign(body) or problems[0]['message']}")
        try:
            _check_text(body)
        except MalformedRequest as malformed:
            return malformed
        where = ", ".join(item["path"] or "the body" for item in problems[:3])
        takes = ", ".join(self._names_in_json) or "nothing"
        return InvalidArguments(f"the arguments do not fit the method: {where} (it takes: {takes})", errors=problems)

    @cached_property
    def _names_in_json(self) -> tuple[str, ...]:
        _, root = storable.opened(self._schema)
        return tuple(member.get("serialization_alias", field) for field, member in root["fields"].items())

    def encode(self, positional: tuple[Any, ...], named: Mapping[str, Any]) -> bytes:
        """Return the arguments of an outgoing call as JSON.

        Raises:
            TypeError: names or number do not fit the signature, as for any Python function.
            InvalidArguments: a value is not of its declared type.
        """
        if len(positional) > len(self._positional):
            raise TypeError(
                f"{self._name} takes {len(self._positional)} positional arguments but {len(positional)} were given; "
                f"{self._takes}"
            )
        values = dict(zip(self._positional, positional, strict=False))
        for name, value in named.items():
            if name in values or name not in self.names:
                kind = "multiple values for" if name in values else "an unexpected keyword"
                raise TypeError(f"{self._name} got {kind} argument '{name}'; {self._takes}")
            values[name] = value
        missing = [name for name in self.required if name not in values]
        if missing:
            raise TypeError(f"{self._name} is missing required arguments: {', '.join(missing)}; {self._takes}")
        try:
            return self._to_json(values, warnings="error")
        except PydanticSerializationError as error:
            raise refused(error, lambda: self._validate_json(self._to_json(values, warnings=False))) from error

    @property
    def _takes(self) -> str:
        """The parameters in words, those with a default in square brackets."""
        names = (name if name in self.required else f"[{name}]" for name in self.names)
        return f"it takes: {', '.join(names) or 'nothing'}"

    def plain_defaults(self) -> dict[str, Any]:
        """Return the defaults as JSON values; one that has no JSON form is left out."""
        if self._plain_defaults is None:
            found: dict[str, Any] = {}
            for name, make in self._makers.items():
                with suppress(MethodFailed, ValueError):
                    found |= json_values.decode(self._to_json({name: make()}))
            self._plain_defaults = found
        return self._plain_defaults

    def json_schema(self, ref_template: str) -> JsonSchema:
        """Return the JSON schema of the arguments object, defaults included."""
        schema = arguments_schema(self._adapter, ref_template)
        for name, make in self._makers.items():
            show_default(schema, self._to_json, name, make)
        return schema


def _members(values: Mapping[str, Any]) -> int:
    """Count the members that were read: the arguments, and those of models and dicts among them."""
    count = len(values)
    for value in values.values():
        if isinstance(value, BaseModel):
            count += len(value.__pydantic_fields_set__)
        elif isinstance(value, dict):
            count += len(cast("dict[object, object]", value))
    return count


def _check_text(body: bytes) -> None:
    try:
        json_text.check(body or _EMPTY_OBJECT)
    except ValueError as error:
        raise MalformedRequest(f"the body is not JSON: {error}") from error


class State:
    """The persistent fields of one class: JSON in the store, attributes on the object."""

    def __init__(
        self,
        name: str,
        hints: Mapping[str, Any],
        defaults: Mapping[str, Any],
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        """Compile the fields; ``defaults`` holds the class attributes of those that have one.

        Raises:
            DefinitionError: an annotation is no type that Pydantic knows.
        """
        self._name = name
        self.fields: tuple[str, ...] = tuple(hints)
        self.hidden = hidden
        declared = {field: split(hint, defaults.get(field, NO_VALUE)) for field, hint in hints.items()}
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
        # Only the state itself keeps members that it does not declare: dataclasses inside would inherit a setting.
        self._schema = storable.with_unknown_members(self._adapter.core_schema)
        self._validate_json = SchemaValidator(self._schema).validate_json
        self._to_json = SchemaSerializer(self._schema, WRITING).to_json
        if storable.has_aliases(self._schema):
            self._validate_json = partial(self._validate_json, by_alias=True, by_name=True)
            self._to_json = partial(self._to_json, by_alias=True)
        self._examine(self._schema)
        self._check_defaults()

    def _examine(self, schema: Mapping[str, Any]) -> None:
        """Decide how each field is compared with its stored form.

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
        # Such values never change in place: the same objects have the same JSON
        self.is_immutable = not self._compared
        self._is_unconstrained = self.is_immutable and all(
            storable.is_unconstrained(node) for node in storable.fields_of(schema).values()
        )
        self._keepers = frozenset(found.transparent - found.converted)
        self._restorers: dict[str, Callable[[Any], Any]] = {}
        self._told: set[str] = set()

    def _check_defaults(self) -> None:
        """Make sure that the defaults are of their declared types: a new object has to be storable."""
        try:
            values = self.fresh()
            self._restorers = {
                field: restore for field, value in values.items() if (restore := restorer(value)) is not None
            }
            loaded = cast("dict[str, Any]", self._validate_json(self.dump(values)))
        except MethodFailed as error:
            raise DefinitionError(f"{self._name}: a default does not fit its field: {error.detail}") from error
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
        """Give loaded values what the defaults of their fields have and JSON has not."""
        for field, restore in self._restorers.items():
            if field in loaded:
                loaded[field] = restore(loaded[field])

    def fresh(self) -> dict[str, Any]:
        """Return the values of an object that was never stored; required fields are missing."""
        return {field: make() for field, make in self._makers.items()}

    def load(self, body: bytes) -> dict[str, Any]:
        """Return the field values in ``body``; members that the class does not declare are kept as they are.

        Raises:
            MethodFailed: the stored state does not fit the class; a migration is missing.
        """
        try:
            values = cast("dict[str, Any]", self._validate_json(body))
        except ValidationError as error:
            raise MethodFailed(
                f"the stored state does not fit class {self._name}; raise its state_version and add a migration",
                errors=self._problems(error),
            ) from error
        except Exception as error:
            raise MethodFailed(f"a validator of {self._name} raised an error of its own") from error
        if self._restorers:
            self._restore_behaviour(values)
        if len(values) < len(self.fields) or values.keys() != set(self.fields):
            for field, make in self._makers.items():
                if field not in values:
                    values[field] = make()
        return values

    def _problems(self, error: ValidationError) -> list[dict[str, str]]:
        """Say which fields do not fit; of hidden ones no more than that, since a message may name the value."""
        problems = field_problems(error)
        if self.hidden:
            names = {name for field in self.hidden for name in (field, self._keys[field])}
            hidden = {f"/{name.replace('~', '~0').replace('/', '~1')}" for name in names}
            for problem in problems:
                pointer = "/" + problem["path"][1:].partition("/")[0]
                if pointer in hidden:
                    problem.update(path=pointer, message="is hidden and does not fit its declaration")
        return problems

    def dump(self, values: Mapping[str, Any]) -> bytes:
        """Return ``values`` as JSON.

        Raises:
            MethodFailed: a value has no JSON form or is not of its declared type.
        """
        try:
            return self._to_json(values, warnings="error")
        except Exception as error:
            raise MethodFailed(self._misfit(values, error)) from error

    def _misfit(self, values: Mapping[str, Any], error: Exception) -> str:
        """Say what cannot be written; the text of the error would show callers the value of a hidden field."""
        for field in self.hidden & values.keys():
            try:
                self._to_json({field: values[field]}, warnings="error")
            except Exception:
                return f"the hidden field {field} of {self._name} holds a value that is not of its declared type"
        return f"a field of {self._name} holds a value that is not of its declared type: {error}"

    def check(self, body: bytes, live: dict[str, Any]) -> bool:
        """Make sure that a state that is about to be committed loads as the values in memory.

        ``live`` are the attributes that ``body`` was written from. Numbers that the declared type promotes are
        replaced in them; returns whether there were any.

        Raises:
            MethodFailed: it breaks a constraint of the class.
            StateNotStorable: a value would be another one after it was loaded.
        """
        if self._is_unconstrained and self._surely_fits(live):
            return False
        try:
            loaded = cast("dict[str, Any]", self._validate_json(body))
        except ValidationError as error:
            problems = self._problems(error)
            raise MethodFailed(
                f"the method left {self._name} in a state that breaks its own declaration: {in_words(problems)}",
                errors=problems,
            ) from error
        except Exception as error:
            raise MethodFailed(f"a validator of {self._name} raised an error of its own") from error
        promoted = False
        for field, kind in self._exact:
            if type(live[field]) is not kind:
                self._settle(field, live, loaded)
                promoted = True
        return self._differ(live, loaded) or promoted if self._compared else promoted

    def _surely_fits(self, live: dict[str, Any]) -> bool:
        """Tell whether fields without constraints hold values that are known to come back from JSON as they are."""
        for field, kind in self._exact:
            value = live[field]
            if type(value) is not kind or (kind is float and value - value != 0.0):  # infinity, NaN
                return False
            if kind is int and not -_SMALL < value < _SMALL:  # JSON integers have a largest length
                return False
        return True

    def _differ(self, live: dict[str, Any], loaded: dict[str, Any]) -> bool:
        """Compare the fields whose types do not say enough; return whether numbers were promoted."""
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
            if field in self.hidden:
                path, message = f"{self._name}.{field}", "is hidden and would be loaded as another value"
            steps = (field,) if field in self.hidden else (field, *difference.path)
            pointer = "".join(f"/{step}" for step in steps)
            raise StateNotStorable(
                f"{path} {message}. Nothing was changed.", errors=[{"path": pointer, "message": message}]
            )

    def attach_unknown(self, values: Mapping[str, Any], stored: bytes, written: bytes) -> list[str]:
        """Keep the members of nested models that this class does not declare; return their paths.

        ``stored`` is what ``values`` were loaded from, ``written`` what they are written as.
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
        """Log stored members that the class does not declare: each once, for a renamed field starts at its default."""
        new = [path for path in dict.fromkeys(paths) if path not in self._told]
        if new:
            self._told.update(new)
            logger.warning(
                "stored members are not declared: %s; they are kept but not used, and a renamed field starts at its "
                "default unless state_version is raised and a migration renames it",
                ", ".join(f"{type_name}.{path}" for path in new),
            )

    def dump_with_unknown(self, values: Mapping[str, Any]) -> bytes:
        """Return ``values`` as JSON, with the members that ``attach_unknown`` kept.

        Raises:
            MethodFailed: a value has no JSON form or is not of its declared type.
        """
        written = json_values.decode(self.dump(values))
        for field, key in self._keys.items():
            if key in written:
                unknown_members.restore(values[field], written[key])
        return json_values.encode(written)

    @cached_property
    def _keys(self) -> Mapping[str, str]:
        """The name in JSON of each field."""
        _, root = storable.opened(self._schema)
        return {field: member.get("serialization_alias", field) for field, member in root["fields"].items()}

    def shown(self, body: bytes) -> bytes:
        """Return the state ``body`` without hidden fields and without members that the class does not declare.

        An undeclared member may be a hidden field of another release of the class.
        """
        values = cast("dict[str, Any]", json_values.decode(body))
        return json_values.encode({key: values[key] for key in values if key in self._shown})

    @cached_property
    def _shown(self) -> frozenset[str]:
        """The names in JSON of the fields that callers see."""
        return frozenset(key for field, key in self._keys.items() if field not in self.hidden)

    def json_schema(self, ref_template: str) -> JsonSchema:
        """Return the JSON schema of the state as callers see it, without hidden fields."""
        schema = result_schema(self._adapter, ref_template)
        schema["required"] = [key for field, key in self._keys.items() if field not in self.hidden]
        if not schema["required"]:  # a stored state has them all
            del schema["required"]
        schema.pop("additionalProperties", None)
        for field, make in self._makers.items():
            show_default(schema, self._to_json, field, make)
        return without_members(schema, {self._keys[field] for field in self.hidden}) if self.hidden else schema
