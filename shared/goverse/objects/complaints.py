"""What is wrong with values, field by field: the same words for JSON that came in and for calls from Python."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pydantic import ValidationError

from goverse.errors import InvalidArguments
from goverse.objects.fidelity import Difference, remedy, shown

_PROBLEMS_MAX = 100
_TOLD_MAX = 3


def field_problems(error: ValidationError) -> list[dict[str, str]]:
    """Return ``[{path, message}]`` of a validation error; the path is a JSON pointer, empty for the whole document.

    A body with very many wrong values is described as a whole: to list them takes seconds and hundreds of megabytes.
    """
    if error.error_count() > _PROBLEMS_MAX:
        return [{"path": "", "message": f"{error.error_count()} values are not of their declared types"}]
    return [
        {
            "path": "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in item["loc"]),
            "message": item["msg"],
        }
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


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


def changed(owner: str, field: str, difference: Difference) -> tuple[str, str]:
    """Return the place of a value that would not survive storage, and a sentence about it."""
    path = ".".join((owner, field, *difference.path))
    live, loaded = shown(difference.live), shown(difference.loaded)
    return path, (
        f"would change when it is stored: {live} ({_class(difference.live)}) would be loaded as "
        f"{loaded} ({_class(difference.loaded)}); {remedy(difference)}"
    )


def _class(value: object) -> str:
    return type(value).__name__
