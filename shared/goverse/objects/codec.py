"""Arguments of methods: a JSON object, checked by a Pydantic validator that is compiled once per class.

Arguments come from untrusted clients, so the checks are strict: the JSON type must match the declared type and unknown
names are rejected. Models inside the arguments keep their own configuration. Aliases are written and read at all
levels.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property, partial
from typing import Any, NotRequired, Required, cast  # Pydantic asks for these below Python 3.12

from pydantic import BaseModel, PydanticUserError, ValidationError
from pydantic_core import PydanticSerializationError, SchemaValidator

from goverse.errors import DefinitionError, InvalidArguments, MalformedRequest, MethodFailed
from goverse.limits import PROBLEM_FIELDS_MAX
from goverse.model import json_text, json_values
from goverse.objects import exact_numbers, storable
from goverse.objects.adapters import ARGUMENTS, members_adapter, sender
from goverse.objects.defaults import NO_VALUE, default_maker, has_default, is_shareable, split
from goverse.objects.passing import changed, check_document, check_types, sure
from goverse.objects.schemas import REF_TEMPLATE, JsonSchema, arguments_schema, show_default
from goverse.objects.validation_errors import field_problems, refused, unknown_type
from goverse.objects.value_text import MISSING

logger = logging.getLogger("goverse.objects")

_EMPTY_OBJECT = b"{}"
_UNEXPECTED = "a validator of the arguments failed with an unexpected error"


def _foreign(body: bytes) -> str | None:
    """Return a description of a body in another encoding, detected by its first bytes, or None."""
    if body.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark (BOM); send UTF-8 without one"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "it is UTF-16; send UTF-8"
    if body.startswith(b"\x1f\x8b"):
        return "it is compressed with gzip; send it uncompressed"
    return None


class Arguments:
    """The parameters of one method: decodes a JSON object to keyword arguments, and encodes outgoing calls."""

    def __init__(self, name: str, function: Callable[..., Any], hints: Mapping[str, Any]) -> None:
        """Compile the signature.

        Raises:
            DefinitionError: a parameter cannot be passed by name, or its values cannot be passed.
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
        # Defaults that Python must not fill in: all calls would share the value, or get the ``Field(...)`` itself
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
        check_types(name, self._schema)
        self._compared = tuple(
            (field, sure(self._schema, node))
            for field, node in storable.fields_of(self._schema).items()
            if storable.exact_class(node) is None
        )
        self._is_plain = storable.is_plain(self._schema) and not self._filled
        self._use_aliases()
        self._read_numbers()
        self._name = name
        self._plain_defaults: dict[str, Any] | None = None
        self._check_defaults(name)
        if not storable.is_plain(self._schema) or storable.has_annotations(self._schema):
            types = {f"parameter {field}": hint for field, (hint, _) in declared.items()}
            check_document(name, partial(self.json_schema, REF_TEMPLATE), types)

    def _read_numbers(self) -> None:
        self._holds_decimals = exact_numbers.holds_decimals(self._schema)
        self._holds_fractions = exact_numbers.holds_fractions(self._schema)
        self._is_exact = self._is_plain and not self._holds_fractions

    def _use_aliases(self) -> None:
        if not self._is_plain:
            self._to_json = partial(self._to_json, by_alias=True)
        if storable.has_aliases(self._schema):
            self._validate_json = partial(self._validate_json, by_alias=True)

    def _check_defaults(self, owner: str) -> None:
        """Check that the defaults have their declared types.

        Raises:
            DefinitionError: a default does not, or its validator failed.
        """
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
        """Return the keyword arguments in ``body``: a JSON object, ``null`` or an empty body.

        Raises:
            MalformedRequest: the body is not JSON.
            InvalidArguments: the body does not fit the signature; ``errors`` has the path of each invalid field.
            MethodFailed: a validator raised an unexpected error.
        """
        try:
            values: dict[str, Any] = self._validate_json(body or _EMPTY_OBJECT)
        except ValidationError as error:
            if body and json_text.is_no_arguments(body):
                return self.decode(b"")
            raise self._refusal(body, error) from error
        except BaseException as error:  # including SystemExit: the arguments of a call must not end the node
            raise MethodFailed(_UNEXPECTED) from error
        colons = body.count(b":")  # one per member in a flat object; without a colon, no member is repeated
        if colons and colons != len(values) and json_text.may_repeat_members(body, _members(values)):
            _check_text(body)
        if self._is_exact or (self._is_plain and not json_text.may_be_tiny(body)):
            return values
        return self._completed(body, values)

    def _completed(self, body: bytes, values: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments of a method whose parameters need more checks or defaults of their own."""
        if not self._is_plain and json_text.may_be_infinite(body):
            _check_text(body)
        if self._holds_fractions:
            values = self._with_exact_numbers(body, values)
        for field, make in self._filled.items():
            if field not in values:
                values[field] = make()
        return values

    @cached_property
    def _exact_validator(self) -> SchemaValidator:
        schema = exact_numbers.with_exact_numbers(self._schema)
        return SchemaValidator(schema, _use_prebuilt=False)

    def _with_exact_numbers(self, body: bytes, values: dict[str, Any]) -> dict[str, Any]:
        """Return ``values``; if the body has numbers that floats do not represent exactly, decode it again first."""
        try:
            texts = json_text.inexact(body, for_decimals=self._holds_decimals)
            if texts is None:
                return values
            written = exact_numbers.Written(texts)
            return cast("dict[str, Any]", self._exact_validator.validate_json(body, by_alias=True, context=written))
        except ValidationError as error:
            raise self._refusal(body, error) from error
        except (exact_numbers.TooManyNumbers, ValueError) as error:
            message = f"more than {PROBLEM_FIELDS_MAX} numbers are too small for a float"
            problems = [{"path": "", "message": message}]
            raise InvalidArguments(f"the arguments do not fit {self._name}: {message}", errors=problems) from error
        except BaseException as error:
            raise MethodFailed(_UNEXPECTED) from error

    def _refusal(self, body: bytes, error: ValidationError) -> MalformedRequest | InvalidArguments:
        """Return the error for a body that does not fit the signature."""
        problems = field_problems(error)
        if error.error_count() == 1 and error.errors(include_url=False, include_input=False)[0]["type"] == (
            "json_invalid"
        ):
            invalid = problems[0]["message"].removeprefix("Invalid JSON: ")
            found = _foreign(body) or f"{invalid}; check its quotes, commas and braces"
            return MalformedRequest(f"the body is not JSON: {found}")
        try:
            _check_text(body)
        except MalformedRequest as malformed:
            return malformed
        where = ", ".join(item["path"] or "the body" for item in problems[:3])
        takes = ", ".join(self._names_in_json) or "nothing"
        return InvalidArguments(f"the arguments do not fit {self._name}: {where} (it takes: {takes})", errors=problems)

    @cached_property
    def _names_in_json(self) -> tuple[str, ...]:
        _, root = storable.opened(self._schema)
        return tuple(member.get("serialization_alias", field) for field, member in root["fields"].items())

    def encode(self, positional: tuple[Any, ...], named: Mapping[str, Any]) -> bytes:
        """Return the arguments of an outgoing call as JSON.

        Raises:
            TypeError: the names or the number of arguments do not fit the signature, as for any Python function.
            InvalidArguments: a value does not have its declared type, or would arrive as another value.
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
            body = self._to_json(values, warnings="error")
        except PydanticSerializationError as error:
            raise refused(
                self._name, error, lambda: self._validate_json(self._to_json(values, warnings=False))
            ) from error
        for name, is_sure in self._compared:
            if name in values and not is_sure((values[name],)):
                self._compare(values, body)
                break
        return body

    def _compare(self, values: dict[str, Any], body: bytes) -> None:
        """Compare the arguments of an outgoing call with those that the called object decodes.

        Raises:
            InvalidArguments: an argument would arrive as another value.
        """
        try:
            arrived = self._validate_json(body)
            with suppress(ValidationError):  # JSON has fewer types, so the called object may accept more
                values = self._adapter.validator.validate_python(values, by_name=True)
        except Exception:  # the called object refuses the arguments, and its error says why
            return
        for name, value in values.items():
            if (found := changed(value, arrived.get(name, MISSING), name)) is not None:
                raise InvalidArguments(
                    f"the arguments do not fit {self._name}: {found.in_words}", errors=[found._asdict()]
                )

    @property
    def _takes(self) -> str:
        """The list of parameters for messages; those with a default are in square brackets."""
        names = (name if name in self.required else f"[{name}]" for name in self.names)
        return f"it takes: {', '.join(names) or 'nothing'}"

    def plain_defaults(self) -> dict[str, Any]:
        """Return the defaults as JSON values, except those without a JSON form."""
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
    """Return the number of members in the arguments, counting those of models and dicts one level down."""
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
