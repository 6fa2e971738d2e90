"""Error texts for invalid values, field by field.

JSON from clients and values passed in Python get the same texts. Most functions here leave out the value itself,
because the caller may not be allowed to see it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, get_args

from pydantic import PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from goverse.errors import DefinitionError, InvalidArguments
from goverse.limits import PROBLEM_FIELD_BYTES_MAX, PROBLEM_FIELDS_MAX
from goverse.model.json_text import DEPTH_MAX
from goverse.model.problem_bounds import bounded_text
from goverse.objects.fidelity import Difference, remedy
from goverse.objects.value_text import shown

_SHOWN_MAX = 3
_NAME_MAX = 200

# Replacements for messages of Pydantic that may contain the value
_REPLACED = {"union_tag_invalid": "its tag is not one of the union"}
# Errors raised by the application's validators
_VALIDATORS = frozenset({"value_error", "assertion_error"})
# Errors whose messages never contain the value
_WITHOUT_VALUE = frozenset(get_args(ErrorType)) - _VALIDATORS - {"union_tag_invalid"}

# Errors about a value that has the declared type
_CONSTRAINTS = frozenset(
    kind
    for kind in get_args(ErrorType)
    if kind.startswith(("greater_than", "less_than", "decimal_max", "decimal_whole"))
    or kind.endswith(("too_short", "too_long", "pattern_mismatch", "_past", "_future"))
    or kind in ("multiple_of", "finite_number", "timezone_naive", "timezone_aware", "timezone_offset")
)


def field_problems(error: ValidationError) -> list[dict[str, str]]:
    """Return ``[{path, message}]`` for a validation error; the path is a JSON pointer, empty for the whole document.

    More than 20 invalid values are reported as one problem of the whole document, because Pydantic repeats the full
    path for each value and a path may be as long as the document. Paths and messages are cut to 256 bytes.
    """
    if error.error_count() > PROBLEM_FIELDS_MAX:
        return [{"path": "", "message": f"{error.error_count()} values are not of their declared types"}]
    if error.error_count() == 1 and "recursion limit" in (message := error.errors(include_url=False)[0]["msg"]):
        return [{"path": "", "message": f"{message.partition(': ')[0]}: nested deeper than {DEPTH_MAX} levels"}]
    return [
        {"path": _pointer(item["loc"]), "message": bounded_text(item["msg"], PROBLEM_FIELD_BYTES_MAX)}
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def _pointer(location: tuple[int | str, ...]) -> str:
    parts = (bounded_text(str(part), PROBLEM_FIELD_BYTES_MAX) for part in location[:PROBLEM_FIELD_BYTES_MAX])
    pointer = "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in parts)
    return bounded_text(pointer, PROBLEM_FIELD_BYTES_MAX)


def in_words(problems: list[dict[str, str]]) -> str:
    """Return the first three problems as one line."""
    return "; ".join(": ".join(filter(None, (item["path"], item["message"]))) for item in problems[:_SHOWN_MAX])


def few_problems(error: ValidationError) -> list[ErrorDetails]:
    """Return the problems without their values, or an empty list if there are more than 20."""
    if error.error_count() > PROBLEM_FIELDS_MAX:
        return []
    return error.errors(include_url=False, include_context=False, include_input=False)


def is_absent(item: ErrorDetails) -> bool:
    """True if the problem is a missing member at the top level of the document."""
    return item["type"] == "missing" and len(item["loc"]) == 1


def withheld_in_words(items: list[ErrorDetails], declared: str) -> str:
    """Return a description of the problems of one value, without their messages, which may contain the value."""
    if all(item["type"] in _CONSTRAINTS for item in items):
        return f"breaks a constraint of its declaration as {declared}"
    if all(item["type"] in _VALIDATORS for item in items):
        return f"is refused by the validator of its declaration as {declared}"
    return f"does not fit its declaration as {declared}"


def without_input(error: ValidationError) -> str:
    """Return a validation error as one line, without the validated values."""
    return f"{error.title}: {in_words(field_problems(error))}"


def refused(method: str, error: Exception, receive: Callable[[], object]) -> InvalidArguments:
    """Return the error for arguments that cannot be encoded.

    ``receive`` decodes the arguments as the receiver would; if that fails, its validation error names the fields.
    """
    with suppress(Exception):  # a value has no JSON form, or a validator of the application failed
        try:
            receive()
        except ValidationError as wrong:
            problems = field_problems(wrong)
            return InvalidArguments(f"the arguments do not fit {method}: {in_words(problems)}", errors=problems)
    return InvalidArguments(f"the arguments do not fit {method}: {error}")


def of_wrong_type(value: object, error: Exception) -> str:
    """Return a description of a value with the wrong type: its class and the first invalid fields.

    The caller may see the text, so it contains no values: messages of the application's validators and of union tags
    are replaced, since they may contain values.
    """
    kind = with_article(type(value).__qualname__[:_NAME_MAX])
    if not isinstance(error, ValidationError):
        return f"{kind} that does not fit it"
    if error.error_count() > PROBLEM_FIELDS_MAX:
        return f"{kind}; {error.error_count()} values in it do not fit"
    wrong = error.errors(include_url=False, include_context=False, include_input=False)[:_SHOWN_MAX]
    problems = [{"path": _pointer(item["loc"])[:_NAME_MAX], "message": refusal_in_words(item)} for item in wrong]
    return f"{kind}; {in_words(problems)}"


def with_article(name: str) -> str:
    """Return the name of a class with ``a`` or ``an`` before it."""
    return f"{'an' if name[:1] in 'aeioAEIO' else 'a'} {name}"


def refusal_in_words(item: ErrorDetails) -> str:
    """Return the message of one problem; a message that may contain the value is replaced by a general one."""
    if item["type"] in _WITHOUT_VALUE:
        return item["msg"][:_NAME_MAX]
    return _REPLACED.get(item["type"], "its validator refuses it")


def changed(owner: str, field: str, difference: Difference) -> tuple[str, str]:
    """Return the path of a value that would change when it is stored, and a sentence that explains the change."""
    path = ".".join((owner, field, *difference.path))
    if not difference.is_stored:
        return path, (
            "has a value that is not stored, because it is private or excluded; declare a field of the model for it, "
            "or keep it in a transient attribute of the object"
        )
    live, loaded = shown(difference.live), shown(difference.loaded)
    return path, (
        f"would change when it is stored: {live} ({_class(difference.live)}) would be loaded as "
        f"{loaded} ({_class(difference.loaded)}); {remedy(difference)}"
    )


def _class(value: object) -> str:
    return type(value).__name__


def unknown_type(owner: str, members: Mapping[str, Any], error: Exception) -> DefinitionError:
    """Return the error for members with a type that Pydantic does not support; it names the first such member."""
    for field, hint in members.items():
        try:
            TypeAdapter(get_args(hint)[0])  # without Required and NotRequired
        except (PydanticUserError, NameError, TypeError) as wrong:
            return DefinitionError(f"{owner}.{field}: the type has no JSON form: {_reason(wrong)}")
    return DefinitionError(f"{owner}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Return the first line of an error, without Pydantic's advice to change a model's configuration."""
    return str(error).partition("\n")[0].partition(" Set `arbitrary_types_allowed")[0].rstrip(".")
