"""What is wrong with values, field by field: the same words for JSON that came in and for calls from Python."""

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

_TOLD_MAX = 3
_NAME_MAX = 200

# Pydantic's own checks whose messages say nothing of the value
_PERSONAL = {"union_tag_invalid": "its tag is not one of the union"}
_VALIDATORS = frozenset({"value_error", "assertion_error"})
_IMPERSONAL = frozenset(get_args(ErrorType)) - _VALIDATORS - {"union_tag_invalid"}

# Pydantic's checks of a value that has the declared type
_CONSTRAINTS = frozenset(
    kind
    for kind in get_args(ErrorType)
    if kind.startswith(("greater_than", "less_than", "decimal_max", "decimal_whole"))
    or kind.endswith(("too_short", "too_long", "pattern_mismatch", "_past", "_future"))
    or kind in ("multiple_of", "finite_number", "timezone_naive", "timezone_aware", "timezone_offset")
)


def field_problems(error: ValidationError) -> list[dict[str, str]]:
    """Return ``[{path, message}]`` of a validation error; the path is a JSON pointer, empty for the whole document.

    A document with more than 20 bad values is described as a whole: the validator repeats the full path for each of
    them, and a path may be as long as the document. A path or a message of more than 256 bytes is cut.
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
    """Return the first problems as one line."""
    return "; ".join(": ".join(filter(None, (item["path"], item["message"]))) for item in problems[:_TOLD_MAX])


def few_problems(error: ValidationError) -> list[ErrorDetails]:
    """Return the problems without their values; none where ``field_problems`` describes the document as a whole."""
    if error.error_count() > PROBLEM_FIELDS_MAX:
        return []
    return error.errors(include_url=False, include_context=False, include_input=False)


def is_absent(item: ErrorDetails) -> bool:
    """Tell whether a problem is a member of the document itself that is missing."""
    return item["type"] == "missing" and len(item["loc"]) == 1


def withheld_in_words(items: list[ErrorDetails], declared: str) -> str:
    """Return what is wrong with one value, by its problems; none of their messages, which may name the value."""
    if all(item["type"] in _CONSTRAINTS for item in items):
        return f"breaks a constraint of its declaration as {declared}"
    if all(item["type"] in _VALIDATORS for item in items):
        return f"is refused by the validator of its declaration as {declared}"
    return f"does not fit its declaration as {declared}"


def without_input(error: ValidationError) -> str:
    """Return a validation error as one line, without the values that were validated."""
    return f"{error.title}: {in_words(field_problems(error))}"


def refused(method: str, error: Exception, receive: Callable[[], object]) -> InvalidArguments:
    """Return the error for arguments that could not be written; ``receive`` reads them as the other side would."""
    with suppress(Exception):  # no JSON form at all, or a validator of the user's own
        try:
            receive()
        except ValidationError as wrong:
            problems = field_problems(wrong)
            return InvalidArguments(f"the arguments do not fit {method}: {in_words(problems)}", errors=problems)
    return InvalidArguments(f"the arguments do not fit {method}: {error}")


def of_wrong_type(value: object, error: Exception) -> str:
    """Return the type of a wrong value and the first fields that do not fit, without the values: a caller may see it.

    The message of a user's own validator and the tag of a union may name values; other messages of Pydantic do not.
    """
    kind = with_article(type(value).__qualname__[:_NAME_MAX])
    if not isinstance(error, ValidationError):
        return f"{kind} that does not fit it"
    if error.error_count() > PROBLEM_FIELDS_MAX:
        return f"{kind}; {error.error_count()} values in it do not fit"
    wrong = error.errors(include_url=False, include_context=False, include_input=False)[:_TOLD_MAX]
    told = [{"path": _pointer(item["loc"])[:_NAME_MAX], "message": refusal_in_words(item)} for item in wrong]
    return f"{kind}; {in_words(told)}"


def with_article(name: str) -> str:
    """Return the name of a class behind ``a`` or ``an``."""
    return f"{'an' if name[:1] in 'aeioAEIO' else 'a'} {name}"


def refusal_in_words(item: ErrorDetails) -> str:
    """Return the message of one problem; those that may name the value are left out (``_IMPERSONAL``)."""
    if item["type"] in _IMPERSONAL:
        return item["msg"][:_NAME_MAX]
    return _PERSONAL.get(item["type"], "its validator refuses it")


def changed(owner: str, field: str, difference: Difference) -> tuple[str, str]:
    """Return the place of a value that would not survive storage, and a sentence about it."""
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
    """Return the error for members of which one has a type that Pydantic does not know."""
    for field, hint in members.items():
        try:
            TypeAdapter(get_args(hint)[0])  # without Required and NotRequired
        except (PydanticUserError, NameError, TypeError) as wrong:
            return DefinitionError(f"{owner}.{field}: the type has no JSON form: {_reason(wrong)}")
    return DefinitionError(f"{owner}: {_reason(error)}")


def _reason(error: Exception) -> str:
    """Return the first line of an error, without advice that only a model's configuration could follow."""
    return str(error).partition("\n")[0].partition(" Set `arbitrary_types_allowed")[0].rstrip(".")
