"""The fast check of values in memory agrees with the full comparison with their loaded JSON."""

import copy
from contextlib import suppress
from typing import Any

import pytest

from goverse.errors import DefinitionError, GoverseError
from goverse.objects.state import State
from tests.unit.objects.stored_types import CASES, NO_DEFAULT, Case

IDS = [f"{number}-{case.annotation!r:.40}" for number, case in enumerate(CASES)]


def _values_of(case: Case) -> tuple[State, list[Any]]:
    """Return the state of a class with one field, and values of the field; no values if the class is rejected."""
    defaults = {} if case.default is NO_DEFAULT else {"x": case.default}
    try:
        state = State("Held", {"x": case.annotation}, defaults)
    except DefinitionError:
        return State("Held", {}, {}), []
    values = [case.value, case.becomes]
    with suppress(GoverseError):
        values.append(state.load(state.dump({"x": case.value}))["x"])
    return state, values


@pytest.mark.requirement("OBJ-13", "OBJ-11")
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_value_that_passes_the_fast_check_equals_its_loaded_json(case: Case) -> None:
    state, values = _values_of(case)
    for value in values:
        live = {"x": copy.deepcopy(value)}
        try:
            body = state.dump(live)
            acknowledged = state.dump(state.load(body)) == body
        except GoverseError:
            continue
        if acknowledged and state.is_surely_loaded(live):
            assert not state.check(body, live)


def test_most_storable_values_pass_the_fast_check() -> None:
    proven = 0
    for case in CASES:
        state, values = _values_of(case)
        proven += case.outcome == "kept" and bool(values) and state.is_surely_loaded({"x": values[-1]})
    assert proven > sum(case.outcome == "kept" for case in CASES) / 2
