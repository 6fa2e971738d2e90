"""Results of methods and views: checked and encoded as JSON, and decoded by a calling object."""

from __future__ import annotations

import inspect
import math
from functools import cached_property, partial
from typing import Any

import orjson
from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from goverse.errors import DefinitionError, MethodFailed
from goverse.model import json_text
from goverse.objects import storable
from goverse.objects.adapters import OWN, RESULT, SENDING, defined, sender
from goverse.objects.passing import changed, check_document, check_result, sure
from goverse.objects.schemas import REF_TEMPLATE, JsonSchema, result_schema
from goverse.objects.validation_errors import field_problems, in_words, of_wrong_type


class Result:
    """The codec of one method's return value: checks and encodes it, and decodes it for a calling object."""

    def __init__(self, name: str, annotation: Any, *, is_read_back: bool = True) -> None:
        """Compile the return annotation; ``is_read_back`` is False for a view, whose result no object reads.

        Raises:
            DefinitionError: Pydantic does not support the annotation, or its values cannot be passed.
        """
        self._name = name
        try:
            try:
                self._adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=RESULT)
                writing = SENDING
            except PydanticUserError:  # models and dataclasses bring their own configuration
                self._adapter = TypeAdapter(annotation)
                writing = OWN
            defined(self._adapter)
        except (PydanticUserError, NameError, TypeError) as error:
            raise DefinitionError(f"{name}: the return annotation is not a supported type: {error}") from error
        self._validate = self._adapter.validator.validate_python
        self._to_json = self._adapter.serializer.to_json
        self._validate_json = self._adapter.validator.validate_json
        schema = self._adapter.core_schema
        self._is_plain = storable.is_plain_value(schema)
        self._exact = storable.exact_class(schema) if storable.is_unconstrained(schema) else None
        check_result(name, schema, is_read_back=is_read_back)
        root = storable.opened(schema)[1]
        self._is_sure = sure(schema, root) if is_read_back and storable.exact_class(root) is None else None
        if not self._is_plain:
            self._to_json = partial(sender(self._adapter, writing), by_alias=True)
        if not self._is_plain or schema.get("metadata") or storable.has_annotations(schema):
            check_document(name, partial(self.json_schema, REF_TEMPLATE), {"the result": annotation})

    def encode(self, value: Any) -> bytes:
        """Return the result as JSON.

        Raises:
            MethodFailed: the value does not have the declared type, or would arrive as another value.
        """
        kind = self._exact
        if kind is not None and type(value) is kind and (kind is not float or math.isfinite(value)):
            try:
                return orjson.dumps(value)  # the same bytes as those of the serializer
            except orjson.JSONEncodeError:  # an integer of more than 64 bits, or half a surrogate pair
                pass
        try:
            value = self._validate(value)
            body = self._to_json(value, warnings="error")
        except (ValidationError, PydanticSerializationError) as error:
            if inspect.iscoroutine(value):
                value.close()
                raise MethodFailed(
                    f"{self._name} returned a coroutine, which was not awaited; did you forget await?"
                ) from error
            raise MethodFailed(
                f"{self._name} returned a value that is not of its declared type: {of_wrong_type(value, error)}. "
                "Return a value of the declared type, or declare the type of the value."
            ) from error
        if not self._is_plain and not json_text.is_finite(body):
            raise MethodFailed(f"{self._name} returned NaN or infinity, which have no JSON form; return None instead")
        if self._is_sure is not None and not self._is_sure((value,)):
            self._compare(value, body)
        return body

    def _compare(self, value: Any, body: bytes) -> None:
        """Compare a result with the one that a calling object decodes.

        Raises:
            MethodFailed: the result would arrive as another value, or could not be read.
        """
        found = changed(value, self.decode(body))
        if found is not None:
            raise MethodFailed(
                f"{self._name} returned a value that its caller would not get: {found.in_words}",
                errors=[found._asdict()],
            )

    def decode(self, body: bytes) -> Any:
        """Return the value that ``body`` holds.

        Raises:
            MethodFailed: another version of the class wrote it, or its type cannot be read back.
        """
        try:
            return self._validate_json(body, by_alias=True, by_name=True)
        except ValidationError as error:
            problems = field_problems(error)
            raise MethodFailed(
                f"the result of {self._name} cannot be read back as its declared type: {in_words(problems)}",
                errors=problems,
            ) from error

    @cached_property
    def members(self) -> frozenset[str]:
        """The member names, if the result is always an object of the same shape; otherwise empty."""
        schema = self.json_schema("{model}")
        schema = schema.get("$defs", {}).get(schema.get("$ref"), schema)
        return frozenset(schema.get("properties", ()))

    def json_schema(self, ref_template: str) -> JsonSchema:
        """Return the JSON schema of the result."""
        return result_schema(self._adapter, ref_template)
