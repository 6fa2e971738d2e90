"""Arguments and results between objects: a value arrives unchanged, or the class or the call is refused.

The value that counts is the one that its declared type makes of it: a result is converted to the type, and a validator
of a parameter may change what it is given. This value is written as JSON and read back by the other object. JSON has
fewer types than Python, so it could arrive as another value: a ``Dog`` as an ``Animal``, a tuple under ``Any`` as a
list, a secret as asterisks.

* ``check_types`` and its neighbours refuse types whose values never arrive unchanged, and types that the API document
  cannot describe.
* ``changed`` finds the other values that would change, before they are sent. For most types the classes of all parts
  decide (``sure``), so the JSON is not read back.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from goverse.errors import DefinitionError, InvalidArguments
from goverse.model import json_values
from goverse.objects import storable
from goverse.objects.fidelity import Difference, remedy, same, settle
from goverse.objects.loaded_classes import Column, column, untyped
from goverse.objects.value_text import MISSING


class Changed(NamedTuple):
    """A value that would arrive as another one.

    Attributes:
        path: a JSON pointer to the value; empty for the whole.
        message: the change and its remedy, without the value itself, which the caller may not be allowed to see.
    """

    path: str
    message: str

    @property
    def in_words(self) -> str:
        """The change as one line."""
        return f"{self.path}: {self.message}" if self.path else self.message


def sure(schema: storable.Node, node: storable.Node) -> Column:
    """Return the check whether values of ``node``, a part of ``schema``, certainly arrive unchanged.

    With aliases it never succeeds, because arguments are read by alias only.
    """
    return (None if storable.has_aliases(node) else column(schema, node)) or _unsure


def _unsure(_values: Sequence[Any]) -> bool:
    return False


def changed(sent: Any, arrived: Any, *steps: str) -> Changed | None:
    """Return the first difference between a value and what arrives of it, or None."""
    try:
        if same(sent, arrived):
            return None
    except RecursionError:
        pass
    _, difference = settle(sent, arrived)
    return None if difference is None else _in_words(difference, steps)


def check_untyped(what: str, values: Mapping[str, Any], body: bytes) -> None:
    """Check that values without declared types arrive unchanged; ``body`` is their JSON.

    Raises:
        InvalidArguments: a value would arrive as another one.
    """
    if untyped((values,)):
        return
    found = changed(dict(values), json_values.decode(body))
    if found is not None:
        raise InvalidArguments(f"{what}: {found.in_words}", errors=[found._asdict()])


def _in_words(difference: Difference, steps: tuple[str, ...]) -> Changed:
    path = "".join(f"/{step}" for step in (*steps, *difference.path))[:200]
    if not difference.is_stored:
        return Changed(path, "is private or excluded, so it would not arrive; declare a field of the model for it")
    if difference.loaded is MISSING:
        return Changed(path, "is excluded from the JSON, so it would not arrive; declare it without exclude")
    sent, arrived = type(difference.live).__name__, type(difference.loaded).__name__
    into = "another value of its class" if sent == arrived else f"{arrived} instead of {sent}"
    return Changed(path, f"would arrive as {into}; {remedy(difference, is_passed=True)}")


# --- declared types --------------------------------------------------------------------------------------------------


def check_types(owner: str, schema: storable.Node) -> None:
    """Check the parameters of a method; ``schema`` is that of all its arguments.

    Raises:
        DefinitionError: a type can never be passed.
    """
    for problem in storable.examine(schema).problems:
        name, *rest = problem.path
        raise DefinitionError(f"{owner}: parameter {'.'.join((name, *rest))}: {problem.reason}")


def check_result(owner: str, schema: storable.Node, *, is_read_back: bool) -> None:
    """Check the type of a result; ``is_read_back`` is False for a view, whose result only clients read.

    Raises:
        DefinitionError: the type can never be passed.
    """
    for problem in storable.examine_value(schema).problems:
        if is_read_back or not problem.is_written:
            where = f" {'.'.join(problem.path)}" if problem.path else ""
            raise DefinitionError(f"{owner}: the result{where}: {problem.reason}")


def check_document(owner: str, describe: Callable[[], Any], parts: Mapping[str, Any]) -> None:
    """Check that the API document can describe the types of ``parts``, by name; ``describe`` makes their JSON schema.

    Raises:
        DefinitionError: it cannot describe one of them.
    """
    error = _undescribed(describe)
    if error is None:
        return
    where = next((part for part, hint in parts.items() if _undescribed(TypeAdapter(hint).json_schema)), "a type")
    reason = str(error).partition("\n")[0].rstrip(".")
    raise DefinitionError(
        f"{owner}: {where} cannot be described in the API document ({reason}); declare a type with a JSON schema, or "
        "annotate it with pydantic.WithJsonSchema"
    ) from error


def _undescribed(describe: Callable[[], Any]) -> Exception | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they appear when the document is made
            json_values.encode(describe())
    except Exception as error:  # of a schema that the application defines, or of a value in it
        return error
    return None
