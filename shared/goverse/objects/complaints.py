"""What is wrong with values, field by field: the same words for JSON that came in and for calls from Python."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pydantic import ValidationError

from goverse.errors import InvalidArguments
from goverse.limits import PROBLEM_FIELD_BYTES_MAX, PROBLEM_FIELDS_MAX
from goverse.model.problem_bounds import bounded_text

_TOLD_MAX = 3
_NAME_MAX = 200


def field_problems(error: ValidationError) -> list[dict[str, str]]:
    """Return ``[{path, message}]`` of a validation error; the path is a JSON pointer, empty for the whole document.

    A document with more than 20 bad values is described as a whole: the validator repeats the full path for each of
    them, and a path may be as long as the document. A path or a message of more than 256 bytes is cut.
    """
    if error.error_count() > PROBLEM_FIELDS_MAX:
        return [{"path": "", "message": f"{error.error_count()} values are not of their declared types"}]
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
    return "; ".join(f"{item['path'] or '/'}: {item['message']}" for item in problems[:_TOLD_MAX])


def refused(error: Exception, receive: Callable[[], object]) -> InvalidArguments:
    """Return the error for arguments that could not be written; ``receive`` reads them as the other side would."""
    with suppress(Exception):  # no JSON form at all, or a validator of the user's own
        try:
            receive()
        except ValidationError as wrong:
            problems = field_problems(wrong)
            return InvalidArguments(f"the arguments do not fit the method: {in_words(problems)}", errors=problems)
    return InvalidArguments(f"the arguments do not fit the method: {error}")


def of_wrong_type(value: object, error: Exception) -> str:
    """Return the type of a wrong value and the first fields that do not fit, without the values: a caller may see it.

    The message of a user's own validator may name values, so only those of Pydantic's checks are repeated.
    """
    kind = type(value).__qualname__[:_NAME_MAX]
    if not isinstance(error, ValidationError):
        return f"a {kind} that does not fit it"
    if error.error_count() > PROBLEM_FIELDS_MAX:
        return f"a {kind}; {error.error_count()} values in it do not fit"
    wrong = error.errors(include_url=False, include_context=False, include_input=False)[:_TOLD_MAX]
    told = [
        {"path": _pointer(item["loc"])[:_NAME_MAX], "message": "its validator refuses it"}
        if item["type"] in ("value_error", "assertion_error")
        else {"path": _pointer(item["loc"])[:_NAME_MAX], "message": item["msg"][:_NAME_MAX]}
        for item in wrong
    ]
    return f"a {kind}; {in_words(told)}"
