"""``Outcome``: the end of a reliable call, as the method given as ``then`` receives it.

In JSON it is ``{"id", "state", "ok", "value" or "problem"}`` (``goverse.model.outcomes``). The value is validated
against the annotation of the parameter, like any other argument. It is read only if the call succeeded.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Generic, TypeVar, cast, get_args, get_origin

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreConfig, CoreSchema, core_schema

from goverse.errors import CallVoid, DefinitionError, GoverseError
from goverse.model.effects import CallState
from goverse.model.frames import Problem
from goverse.model.problems import error_of

T_co = TypeVar("T_co", covariant=True)

PARAMETER: Final = "outcome"
"""The parameter of a method that receives an outcome."""

# As for arguments (``goverse.objects.adapters``), but members of a later release are ignored
_READING: Final[CoreConfig] = {
    "extra_fields_behavior": "ignore",
    "strict": True,
    "allow_inf_nan": False,
    "val_json_bytes": "base64",
}
_FAILURES: Final = ("failed", "expired", "cancelled", "dead")


class Outcome(Generic[T_co]):
    """The end of a reliable call.

    >>> @handler
    ... async def paid(self, outcome: Outcome[Charge]) -> None:
    ...     self.state = "paid" if outcome.ok else "failed"

    Attributes:
        id: the id of the call.
        state: ``success``; ``failed``: the method raised a business error; ``expired`` or ``cancelled``: it never ran,
            and never will; ``dead``: it was given up.
        problem: the error, with ``code``, ``detail`` and ``extra``; None after a success.
    """

    __slots__ = ("_value", "id", "problem", "state")

    def __init__(
        self, call_id: str, state: CallState = "success", *, value: Any = None, problem: Problem | None = None
    ) -> None:
        """Describe the end of the call ``call_id``; without a ``problem``, a failure gets one that names its state."""
        self.id = call_id
        self.state: CallState = state
        self._value = value
        if state != "success" and problem is None:
            problem = Problem.of(CallVoid(f"the reliable call {call_id} did not succeed: it is {state}"))
        self.problem = problem

    @property
    def ok(self) -> bool:
        """True if the call succeeded."""
        return self.state == "success"

    @property
    def value(self) -> T_co:
        """The result of the call.

        Raises:
            GoverseError: the call did not succeed. Ask for ``ok`` first, or read ``problem``.
        """
        if self.problem is not None:
            raise GoverseError(
                f"the reliable call {self.id} has no value, because it is {self.state}: {self.problem.detail}; ask for "
                "outcome.ok first, or read outcome.problem"
            ) from error_of(self.problem)
        return cast("T_co", self._value)

    def __eq__(self, other: object) -> bool:
        """True if both describe the same end of the same call."""
        if not isinstance(other, Outcome):
            return False
        return _members(self) == _members(cast("Outcome[Any]", other))  # type: ignore[redundant-cast]  # pyright needs it

    __hash__ = None  # type: ignore[assignment]  # the value may be mutable

    def __repr__(self) -> str:
        """Return a text with the id, the state, and the value or problem."""
        found = self.problem if self.problem is not None else self._value
        return f"<outcome of {self.id}: {self.state}, {found!r}>"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of the JSON form, with the type of the value from the annotation."""
        declared = get_args(source)
        value = handler.generate_schema(declared[0]) if declared else core_schema.any_schema()
        text, field = core_schema.str_schema(), core_schema.typed_dict_field
        succeeded = core_schema.typed_dict_schema(
            {"id": field(text), "state": field(core_schema.literal_schema(["success"])), "value": field(value)},
            config=_READING,
        )
        failed = core_schema.typed_dict_schema(
            {
                "id": field(text),
                "state": field(core_schema.literal_schema(list(_FAILURES))),
                "problem": field(core_schema.nullable_schema(_problem_schema()), required=False),
            },
            config=_READING,
        )
        choices: dict[Any, CoreSchema] = {"success": succeeded, **dict.fromkeys(_FAILURES, failed)}
        return core_schema.no_info_after_validator_function(
            _outcome,
            core_schema.tagged_union_schema(choices, discriminator="state"),
            serialization=core_schema.plain_serializer_function_ser_schema(_members),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the JSON schema without the discriminator, which OpenAPI allows between named schemas only."""
        shown = handler(schema)
        shown.pop("discriminator", None)
        return shown


def _problem_schema() -> CoreSchema:
    field = core_schema.typed_dict_field
    return core_schema.typed_dict_schema(
        {
            "code": field(core_schema.str_schema()),
            "detail": field(core_schema.str_schema()),
            "retryable": field(core_schema.bool_schema(), required=False),
            "extra": field(core_schema.dict_schema(core_schema.str_schema()), required=False),
            "status": field(core_schema.nullable_schema(core_schema.int_schema()), required=False),
        },
        config=_READING,
    )


def _outcome(members: dict[str, Any]) -> Outcome[Any]:
    problem = members.get("problem")
    return Outcome(
        members["id"],
        members["state"],
        value=members.get("value"),
        problem=Problem(**problem) if problem is not None else None,
    )


def _members(outcome: Outcome[Any]) -> dict[str, Any]:
    """Return the JSON form."""
    head: dict[str, Any] = {"id": outcome.id, "state": outcome.state, "ok": outcome.ok}
    problem = outcome.problem
    if problem is None:
        return {**head, "value": outcome.value}
    error = {
        "code": problem.code,
        "detail": problem.detail,
        "retryable": problem.retryable,
        "extra": dict(problem.extra),
        "status": problem.status,
    }
    return {**head, "problem": error}


def takes_outcome(
    owner: str, function: Callable[..., Any], hints: Mapping[str, Any], *, is_hook: bool, is_handler: bool
) -> bool:
    """Return whether a method receives the outcomes of reliable calls: it takes ``outcome: Outcome[...]``.

    Raises:
        DefinitionError: it takes an ``Outcome`` together with other parameters or by another name, is a hook, or is
            open to requests from outside.
    """
    names = list(inspect.signature(function).parameters)[1:]
    taken = [name for name in names if _is_outcome(hints.get(name))]
    if not taken:
        return False
    if is_hook:
        raise DefinitionError(f"{owner} is a hook and cannot receive the outcome of a reliable call; write a handler")
    if names != [PARAMETER]:
        raise DefinitionError(
            f"{owner} takes {', '.join(names)}; a method that receives the outcome of a reliable call takes nothing "
            f"else, and by this name: async def {owner.rpartition('.')[2]}(self, outcome: Outcome[...])"
        )
    if not is_handler:
        raise DefinitionError(
            f"{owner} takes the outcome of a reliable call, and a request from outside could invent one; mark it with "
            "@handler instead of @call"
        )
    return True


def _is_outcome(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint is Outcome or get_origin(hint) is Outcome
