"""Hooks run when they should; a failing one has the outcome that the guide promises."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import orjson
import pytest

from goverse import BusinessError, Object, call
from goverse.model.frames import MUST_EXIST, Operation
from tests.unit.node.rig import Rig, rig

pytestmark = pytest.mark.requirement("OBJ-3", "OBJ-4")


class Refused(BusinessError):
    """No."""

    status = 409
    code = "refused"


class Hooked(Object):
    """Notes what its hooks do; ``trouble`` makes one of them fail."""

    name: str = "nobody"
    activations: int = 0
    trace: ClassVar[list[str]] = []
    trouble: ClassVar[str] = ""

    async def on_create(self, name: str = "somebody") -> None:
        await self._step("on_create")
        self.name = name

    async def on_activate(self) -> None:
        await self._step("on_activate")
        self.activations += 1

    async def on_deactivate(self) -> None:
        await self._step("on_deactivate")
        self.name = "slept"

    async def on_delete(self) -> None:
        await self._step("on_delete")

    async def _step(self, hook: str) -> None:
        self.trace.append(hook)
        await asyncio.sleep(0)
        if self.trouble == f"{hook} refuses":
            raise Refused("not now")
        if self.trouble == f"{hook} fails":
            raise ValueError
        if self.trouble == f"{hook} hangs":
            await asyncio.Event().wait()

    @call(readonly=True)
    async def who(self) -> str:
        return self.name


class Titled(Object, create_on_call=False):
    """Is created on purpose, with a title."""

    title: str

    def on_create(self, title: str) -> None:
        self.title = title

    @call
    async def rename(self, title: str) -> str:
        self.title = title
        return self.title


@pytest.fixture(autouse=True)
def no_trouble() -> None:
    Hooked.trace.clear()
    Hooked.trouble = ""


def _create(here: Rig, object_id: str, body: bytes = b"", if_match: int | None = None) -> asyncio.Future:  # type: ignore[type-arg]
    return here.send(object_id, operation=Operation.CREATE, body=body, if_match=if_match)


async def test_first_call_creates_then_activates() -> None:
    async with rig(Hooked) as here:
        assert await here.call("a", "who") == "somebody"
        assert Hooked.trace == ["on_create", "on_activate"]
        assert await here.state("a") == {"name": "somebody", "activations": 1}


async def test_passivation_keeps_what_on_deactivate_changed_and_activation_runs_again() -> None:
    async with rig(Hooked) as here:
        await here.call("a", "who")
        await here.restart()
        assert await here.call("a", "who") == "slept"
        assert await here.state("a") == {"name": "slept", "activations": 2}


async def test_create_with_arguments_answers_with_the_state_once() -> None:
    async with rig(Hooked) as here:
        reply = await _create(here, "a", b'{"name": "ann"}')
        assert (reply.created, orjson.loads(reply.body)["name"]) == (True, "ann")
        again = await _create(here, "a", b'{"name": "ben"}')
        assert (again.created, orjson.loads(again.body)["name"]) == (False, "ann")
        assert await here.code("a", operation=Operation.CREATE, if_match=0) == "object_exists"
        assert await here.code("b", operation=Operation.CREATE, body=b'{"age": 1}') == "invalid_arguments"


async def test_object_that_is_created_on_purpose_is_not_found_before() -> None:
    async with rig(Titled) as here:
        assert await here.code("a", "rename", title="x") == "object_not_found"
        assert await here.code("a", operation=Operation.CREATE) == "invalid_arguments"
        assert (await _create(here, "a", b'{"title": "t"}')).version == 1
        assert await here.call("a", "rename", title="x") == "x"


@pytest.mark.parametrize(
    ("trouble", "code"), [("refuses", "refused"), ("fails", "method_failed"), ("hangs", "timeout")]
)
async def test_on_create_that_fails_leaves_no_object(trouble: str, code: str) -> None:
    async with rig(Hooked, hook_timeout_s=0.1) as here:
        Hooked.trouble = f"on_create {trouble}"
        assert await here.code("a", operation=Operation.CREATE) == code
        assert await here.code("a", "who") == code
        assert await here.state("a") is None
        Hooked.trouble = ""
        assert await here.call("a", "who") == "somebody"


@pytest.mark.parametrize(
    ("trouble", "code"), [("refuses", "refused"), ("fails", "method_failed"), ("hangs", "timeout")]
)
async def test_on_activate_that_fails_fails_the_call_and_the_next_one_tries_again(trouble: str, code: str) -> None:
    async with rig(Hooked, hook_timeout_s=0.1) as here:
        Hooked.trouble = f"on_activate {trouble}"
        assert await here.code("a", "who") == code
        Hooked.trouble = ""
        assert await here.call("a", "who") == "somebody"


@pytest.mark.parametrize("trouble", ["refuses", "fails", "hangs"])
async def test_on_deactivate_that_fails_loses_nothing_and_holds_nobody_up(trouble: str) -> None:
    async with rig(Hooked, hook_timeout_s=0.1, cancel_grace_s=0.1) as here:
        await here.call("a", "who")
        Hooked.trouble = f"on_deactivate {trouble}"
        next(iter(here.node.residents)).close()
        assert await here.call("a", "who") == "somebody"
        assert here.node.stats.activations == 2
        Hooked.trouble = ""


async def test_calls_that_come_during_on_deactivate_run_afterwards() -> None:
    async with rig(Hooked) as here:
        await here.call("a", "who")
        next(iter(here.node.residents)).close()
        replies = await asyncio.gather(*(here.call("a", "who") for _ in range(5)))
        assert replies == ["slept"] * 5


@pytest.mark.parametrize(
    ("trouble", "code"), [("refuses", "refused"), ("fails", "method_failed"), ("hangs", "timeout")]
)
async def test_on_delete_that_fails_keeps_the_object(trouble: str, code: str) -> None:
    async with rig(Hooked, hook_timeout_s=0.1) as here:
        await here.call("a", "who")
        Hooked.trouble = f"on_delete {trouble}"
        assert await here.code("a", operation=Operation.DELETE) == code
        assert await here.call("a", "who") == "somebody"


async def test_deleted_object_starts_afresh_with_a_higher_version() -> None:
    async with rig(Hooked) as here:
        await _create(here, "a", b'{"name": "ann"}')
        await here.call("a", "who")
        deleted = await here.send("a", operation=Operation.DELETE)
        assert await here.state("a") is None
        assert await here.code("a", operation=Operation.DELETE) == "object_not_found"
        await here.restart()
        created = await _create(here, "a")
        assert created.created
        assert created.version > deleted.version
        assert orjson.loads(created.body)["name"] == "somebody"


async def test_version_conditions_are_checked_before_the_turn() -> None:
    async with rig(Titled) as here:
        assert await here.code("a", operation=Operation.DELETE, if_match=MUST_EXIST) == "object_not_found"
        await _create(here, "a", b'{"title": "t"}')
        assert await here.code("a", "rename", title="x", if_match=7) == "version_mismatch"
        assert await here.call("a", "rename", title="x", if_match=1) == "x"
        assert await here.code("a", "rename", title="y", if_match=1) == "version_mismatch"
        assert await here.call("a", "rename", title="y", if_match=MUST_EXIST) == "y"
        assert await here.code("a", operation=Operation.DELETE, if_match=2) == "version_mismatch"
        assert (await here.send("a", operation=Operation.DELETE, if_match=3)).version == 4
