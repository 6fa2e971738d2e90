"""An acknowledged value is the same after passivation; otherwise the call or the class is rejected."""

import copy
import math
from datetime import datetime, time
from typing import Any, ClassVar

import pytest
from pydantic import SecretStr

from goverse import DefinitionError, MethodFailed, Object, call
from goverse.testing import ObjectHost
from tests.unit.objects.stored_types import CASES, NO_DEFAULT, Case

IDS = [f"{number}-{case.outcome}-{case.annotation!r:.40}" for number, case in enumerate(CASES)]


class Holder(Object, abstract=True):
    """An object that takes a value and shows it as it is in memory."""

    given: ClassVar[Any]
    seen: ClassVar[list[Any]]

    @call
    async def put(self) -> None:
        vars(self)["x"] = copy.deepcopy(type(self).given)

    @call(readonly=True)
    async def look(self) -> None:
        type(self).seen.append(copy.deepcopy(vars(self)["x"]))


def _class_of(case: Case) -> type[Any]:
    members: dict[str, Any] = {"__annotations__": {"x": case.annotation}, "__module__": __name__}
    if case.default is not NO_DEFAULT:
        members["x"] = case.default
    made: Any = type("Held", (Holder,), members)
    made.given, made.seen = case.value, []
    return made  # type: ignore[no-any-return]


def _in_full(value: Any) -> str:
    """Return a text that differs for two values if any part of them differs."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, datetime | time):
        return f"{type(value).__name__} {value.isoformat()}"
    if isinstance(value, dict):
        return f"{type(value).__name__} {sorted((_in_full(key), _in_full(part)) for key, part in value.items())}"
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__} {sorted(map(_in_full, value))}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} {[_in_full(part) for part in value]}"
    if isinstance(value, SecretStr):
        return f"SecretStr {value.get_secret_value()}"
    return f"{type(value).__name__} {value!r}"


async def _outcome(case: Case) -> tuple[str, Any]:
    """Return the outcome of storing the value, and the value after passivation."""
    try:
        held = _class_of(case)
        host = ObjectHost(held)
    except DefinitionError:
        return "unloadable", None
    async with host:
        found = host.ref(held, "1")
        try:
            await found.put()
        except MethodFailed:
            return "refused", None
        await found.look()
        await host.passivate()
        await found.look()
        live, loaded = held.seen
        assert _in_full(live) == _in_full(loaded)
        return "kept", loaded


def test_the_matrix_is_large_enough() -> None:
    assert len(CASES) >= 200
    assert {case.outcome for case in CASES} == {"kept", "refused", "unloadable"}


@pytest.mark.requirement("OBJ-13")
@pytest.mark.parametrize("case", CASES, ids=IDS)
async def test_a_value_is_the_same_after_passivation_or_is_refused(case: Case) -> None:
    outcome, loaded = await _outcome(case)

    assert outcome == case.outcome
    if outcome == "kept":
        assert _in_full(loaded) == _in_full(case.becomes)


class Promoted(Object):
    by_number: dict[float, int] = {}
    ratios: list[float] = []
    spots: set[float] = set()

    @call
    async def put(self) -> None:
        self.by_number[1] = 1
        self.ratios.append(1)
        self.spots.add(2)

    @call(readonly=True)
    async def look(self) -> str:
        return repr([self.by_number, self.ratios, self.spots])


@pytest.mark.requirement("OBJ-13", "OBJ-2")
async def test_numbers_that_the_declared_type_promotes_are_no_change_of_a_later_call() -> None:
    async with ObjectHost(Promoted) as host:
        found = host.ref(Promoted, "1")
        await found.put()
        live = await found.look()
        state = await host.state(Promoted, "1")
        await host.passivate()

        assert await found.look() == live == "[{1.0: 1}, [1.0], {2.0}]"
        assert await host.state(Promoted, "1") == state
        await found.put()
        assert await found.look() == "[{1.0: 1}, [1.0, 1.0], {2.0}]"
