"""Random programs of nested calls: no effect is lost or doubled, and the audit finds planted bugs."""

import pytest

from goverse_node.runtime.scope import Scope
from goverse_node.runtime.turn import Turn
from tests.integration.cluster.nested_programs import Run
from tests.tiers import forms

pytestmark = pytest.mark.requirement("DUR-2", "CLU-12")


@pytest.mark.parametrize("calls", forms(quick=160, system=600))
async def test_nested_calls_have_each_effect_once_whatever_breaks(calls: int) -> None:
    run = Run(1, calls)

    assert await run() == [], f"replay: python -m tests.integration.cluster.nested_programs 1 --calls {calls}"
    assert {"broken streams", "moves", "passivations", "kills"} <= set(run.faults)
    assert run.answers["success"] > calls // 6
    assert run.answers["success with a key"] > calls // 3


async def test_a_key_that_a_hook_and_its_method_share_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turn, "name", property(lambda _: "any"))
    run = Run(3, 60)

    assert any("failed in every attempt" in line for line in await run())


async def test_an_effect_without_a_key_of_its_own_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Scope, "_derived_key", lambda *_: None)
    run = Run(3, 100)

    assert any("took effect 2 times" in line for line in await run())
