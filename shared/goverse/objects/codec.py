"""Between JSON and Python: arguments, results and states, each checked by Pydantic validators made once per class.

Arguments are strict (the JSON type must be the declared one, unknown names are refused) because they come from
anywhere; models among them keep their own configuration.
States are lax when read (they come from ourselves) and complete when written: what was committed can be loaded again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NotRequired, Required, cast  # Pydantic asks for these below Python 3.12

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreConfig, PydanticSerializationError, SchemaSerializer
from typing_extensions import TypedDict

from goverse.errors import DefinitionError, InvalidArguments, MalformedRequest, MethodFailed
from goverse.model.json_values import decode
from goverse.objects.complaints import field_problems, of_wrong_type, refused
from goverse.objects.defaults import NO_VALUE, constrained, default_maker, has_default

JsonSchema = dict[str, Any]

_EMPTY_OBJECT = b"{}"
# Bytes travel as base64: in UTF-8, the default, most of them have no form.
_ARGUMENTS = ConfigDict(
    extra="forbid", strict=True, allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64"
)
_RESULT = ConfigDict(allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64")
_STATE = ConfigDict(extra="allow", allow_inf_nan=False, ser_json_bytes="base64", val_json_bytes="base64")
_WRITING: CoreConfig = {"ser_json_bytes": "base64"}


def _adapter(name: str, members: Mapping[str, Any], config: ConfigDict) -> TypeAdapter[dict[str, Any]]:
    make: Any = TypedDict  # a plain call: the members are only known at run time
    shape = make(name, dict(members))
    shape.__pydantic_config__ = config
    return cast("TypeAdapter[dict[str, Any]]", TypeAdapter(shape))


def _writer(adapter: TypeAdapter[dict[str, Any]]) -> Callable[..., bytes]:
    """Return what turns values into JSON; a serializer does not read the configuration of a typed dict by itself."""
    return SchemaSerializer(adapter.core_schema, _WRITING).to_json


def _show_default(schema: JsonSchema, to_json: Callable[..., bytes], field: str, make: Callable[[], Any]) -> None:
    """Add a default to the schema of a field; one without a JSON form is simply not shown."""
    with suppress(MethodFailed, ValueError):
        schema["properties"][field].setdefault("default", decode(to_json({field: make()}))[field])


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
        self.required: tuple[str, ...] = tuple(p.name for p in parameters if p.default is p.empty)
        self._positional = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        members = {
            p.name: (Required if p.default is p.empty else NotRequired)[hints.get(p.name, Any)] for p in parameters
        }
        try:
            self._adapter = _adapter(name, members, _ARGUMENTS)
        except (PydanticUserError, TypeError) as error:
            raise DefinitionError(f"{name}: {error}") from error
        self._validate_json = self._adapter.validator.validate_json
        self._to_json = _writer(self._adapter)

    def decode(self, body: bytes) -> dict[str, Any]:
        """Return the keyword arguments in ``body``, a JSON object or nothing.

        Raises:
            MalformedRequest: the body is not JSON.
            InvalidArguments: it does not fit the signature; ``errors`` has the path of each bad field.
        """
        try:
            return cast("dict[str, Any]", self._validate_json(body or _EMPTY_OBJECT))
        except ValidationError as error:
            problems = field_problems(error)
            if error.error_count() == 1 and error.errors(include_url=False, include_input=False)[0]["type"] == (
                "json_invalid"
            ):
                raise MalformedRequest(f"the body is not JSON: {problems[0]['message']}") from error
            where = ", ".join(item["path"] or "the body" for item in problems[:3])
            takes = ", ".join(self.names) or "nothing"
            detail = f"the arguments do not fit the method: {where} (it takes: {takes})"
            raise InvalidArguments(detail, errors=problems) from error
        except Exception as error:
            raise MethodFailed("a validator of the arguments raised an error of its own") from error

    def encode(self, positional: tuple[Any, ...], named: Mapping[str, Any]) -> bytes:
        """Return the arguments of an outgoing call as JSON.

        Raises:
            TypeError: names or number do not fit the signature, as for any Python function.
            InvalidArguments: a value is not of its declared type.
        """
        if len(positional) > len(self._positional):
            raise TypeError(f"takes {len(self._positional)} positional arguments but {len(positional)} were given")
        values = dict(zip(self._positional, positional, strict=False))
        for name, value in named.items():
            if name in values or name not in self.names:
                raise TypeError(
                    f"got {'multiple values for' if name in values else 'an unexpected keyword'} argument '{name}'"
                )
            values[name] = value
        missing = [name for name in self.required if name not in values]
        if missing:
            raise TypeError(f"missing required arguments: {', '.join(missing)}")
        try:
            return self._to_json(values, warnings="error")
        except PydanticSerializationError as error:
            raise refused(error, lambda: self._validate_json(self._to_json(values, warnings=False))) from error

    def json_schema(self, ref_template: str) -> JsonSchema:
        """Return the JSON schema of the arguments object, defaults included."""
        schema = self._adapter.json_schema(ref_template=ref_template)
        for name, default in self._defaults.items():
            _show_default(schema, self._to_json, name, default_maker(default))
        return schema


class Result:
    """The return value of one method: checked, then JSON; and back again on the side of a calling object."""

    def __init__(self, name: str, annotation: Any) -> None:
        """Compile the return annotation.

        Raises:
            DefinitionError: the annotation is no type that Pydantic knows.
        """
        self._name = name
        try:
            try:
                self._adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=_RESULT)
            except PydanticUserError:  # models and dataclasses bring their own configuration
                self._adapter = TypeAdapter(annotation)
        except (PydanticUserError, TypeError) as error:
            raise DefinitionError(f"{name}: the return annotation is no type that can be checked: {error}") from error
        self._validate = self._adapter.validator.validate_python
        self._to_json = self._adapter.serializer.to_json

    def encode(self, value: Any) -> bytes:
        """Return the result as JSON.

        Raises:
            MethodFailed: the value is not of the declared type.
        """
        try:
            return self._to_json(self._validate(value), warnings="error")
        except (ValidationError, PydanticSerializationError) as error:
            raise MethodFailed(
                f"{self._name} returned a value that is not of its declared type: {of_wrong_type(value, error)}"
            ) from error

    def decode(self, body: bytes) -> Any:
        """Return the value that ``body`` holds."""
        return self._adapter.validate_json(body)

    def json_schema(self, ref_template: str) -> JsonSchema:
        """Return the JSON schema of the result."""
        return self._adapter.json_schema(ref_template=ref_template, mode="serialization")


class State:
    """The persistent fields of one class: JSON in the store, attributes on the object."""

    def __init__(self, name: str, hints: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        """Compile the fields; ``defaults`` holds the class attributes of those that have one.

        Raises:
            DefinitionError: an annotation is no type that Pydantic knows.
        """
        self._name = name
        self.fields: tuple[str, ...] = tuple(hints)
        self._makers = {
            field: default_maker(defaults[field]) for field in hints if has_default(defaults.get(field, NO_VALUE))
        }
        self.required: tuple[str, ...] = tuple(field for field in hints if field not in self._makers)
        members: dict[str, Any] = {}
        for field, hint in hints.items():
            default = defaults.get(field, NO_VALUE)
            typed = constrained(hint, default) if isinstance(default, FieldInfo) else hint
            members[field] = NotRequired[typed] if field in self._makers else Required[typed]
        try:
            self._adapter = _adapter(f"{name}State", members, _STATE)
        except (PydanticUserError, TypeError) as error:
            raise DefinitionError(f"{name}: {error}") from error
        self._validate_json = self._adapter.validator.validate_json
        self._to_json = _writer(self._adapter)
        self._check_defaults()

    def _check_defaults(self) -> None:
        """Make sure that the defaults are of their declared types: a new object has to be storable."""
        try:
            self._validate_json(self.dump(self.fresh()))
        except MethodFailed as error:
            raise DefinitionError(f"{self._name}: a default does not fit its field: {error.detail}") from error
        except ValidationError as error:
            wrong = [item for item in error.errors() if item["type"] != "missing"]
            if wrong:
                field = wrong[0]["loc"][0]
                raise DefinitionError(
                    f"{self._name}.{field}: the default does not fit the field: {wrong[0]['msg']}"
                ) from error

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
                errors=field_problems(error),
            ) from error
        except Exception as error:
            raise MethodFailed(f"a validator of {self._name} raised an error of its own") from error
        if len(values) < len(self.fields) or values.keys() != set(self.fields):
            for field, make in self._makers.items():
                if field not in values:
                    values[field] = make()
        return values

    def dump(self, values: Mapping[str, Any]) -> bytes:
        """Return ``values`` as JSON.

        Raises:
            MethodFailed: a value has no JSON form or is not of its declared type.
        """
        try:
            return self._to_json(values, warnings="error")
        except Exception as error:
            raise MethodFailed(
                f"a field of {self._name} holds a value that is not of its declared type: {error}"
            ) from error

    def check(self, body: bytes) -> None:
        """Make sure that a state that is about to be committed can be loaded again.

        Raises:
            MethodFailed: it breaks a constraint of the class.
        """
        try:
            self._validate_json(body)
        except ValidationError as error:
            raise MethodFailed(
                f"the method left {self._name} in a state that breaks its own declaration",
                errors=field_problems(error),
            ) from error
        except Exception as error:
            raise MethodFailed(f"a validator of {self._name} raised an error of its own") from error

    def json_schema(self, ref_template: str) -> JsonSchema:
        """Return the JSON schema of the state."""
        schema = self._adapter.json_schema(ref_template=ref_template, mode="serialization")
        schema["required"] = list(self.fields)  # a stored state has them all
        if not self.fields:
            del schema["required"]
        schema.pop("additionalProperties", None)
        for field, make in self._makers.items():
            _show_default(schema, self._to_json, field, make)
        return schema
