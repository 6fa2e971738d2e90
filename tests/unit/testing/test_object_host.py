"""`goverse.testing.ObjectHost`: options, start and stop, and injected faults."""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, cast

import pytest

from goverse import (
    BusinessError,
    GoverseError,
    MalformedRequest,
    MethodFailed,
    Object,
    ObjectNotFound,
    Overloaded,
    Timeout,
    TooLarge,
    UnknownType,
    call,
)
from goverse.testing import Delay, LostAnswer, ObjectHost
from tests.loop_time import LoopTime
from tests.nodes import settle


class SoldOut(BusinessError):
    """Nothing is left."""

    status = 409
    code = "sold_out_of_host_tests"


class Purse(Object):
    cents: int = 0
    notes: str = ""

    def on_create(self, cents: int = 0) -> None:
        self.cents = cents

    @call(raises=(SoldOut,))
    async def add(self, cents: int) -> int:
        self.cents += cents
        return self.cents

    @call(readonly=True)
    async def peek(self) -> int:
        return self.cents

    @call
    def double(self) -> int:
        self.cents *= 2
        return self.cents

    @call
    async def write(self, text: str) -> None:
        self.notes = text


class Shopper(Object):
    bought: int = 0

    @call
    async def buy(self) -> int:
        await self.ref(Purse, self.id).add(cents=5)
        self.bought += 1
        return self.bought

    @call
    async def buy_or_note(self) -> str:
        try:
            await self.ref(Purse, self.id).add(cents=5)
        except GoverseError as error:
            return error.code
        return "bought"


class Slow(Object):
    release: ClassVar[asyncio.Event]

    @call
    async def wait(self) -> None:
        await self.release.wait()


async def test_an_exception_replaces_the_method_and_rolls_the_caller_back() -> None:
    async with ObjectHost(Shopper, Purse) as host:
        fault = host.fail(Purse, "add", with_=SoldOut("no cents"))
        shopper = host.ref(Shopper, "ann")

        with pytest.raises(SoldOut, match="no cents"):
            await shopper.buy()

        assert await shopper.buy() == 1
        assert fault.hits == 1
        assert await host.state(Purse, "ann") == {"cents": 5, "notes": ""}


async def test_an_injected_program_error_has_the_effect_of_a_bug() -> None:
    async with ObjectHost(Purse) as host:
        host.fail(Purse, "add", with_=ZeroDivisionError)
        with pytest.raises(MethodFailed):
            await host.ref(Purse, "ann").add(cents=1)


async def test_after_a_lost_answer_the_effect_remains_and_a_repetition_gets_the_stored_answer() -> None:
    async with ObjectHost(Purse) as host:
        host.fail(Purse, "add", with_=LostAnswer())
        purse = host.ref(Purse, "ann", idempotency_key="k")

        with pytest.raises(Timeout, match="the answer was lost"):
            await purse.add(cents=5)

        assert await purse.add(cents=5) == 5
        assert await host.ref(Purse, "ann").peek() == 5


async def test_a_calling_object_can_lose_an_answer_too() -> None:
    async with ObjectHost(Shopper, Purse) as host:
        host.fail(Purse, "add", with_=LostAnswer())

        assert await host.ref(Shopper, "ann").buy_or_note() == "timeout"

        assert await host.ref(Purse, "ann").peek() == 5


async def test_a_delay_occupies_the_object_and_counts_towards_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    time = LoopTime(monkeypatch)
    async with ObjectHost(Purse, timeout_s=10) as host:
        host.fail(Purse, "add", with_=Delay(seconds=60))
        waiting = asyncio.ensure_future(host.ref(Purse, "ann").add(cents=5))
        await settle()
        await time.advance(10)

        with pytest.raises(Timeout):
            await waiting

        host.fail(Purse, "add", with_=Delay(seconds=0))
        assert await host.ref(Purse, "ann").add(cents=5) == 5


async def test_a_plain_method_fails_and_waits_like_any_other() -> None:
    async with ObjectHost(Purse) as host:
        await host.create(Purse, "ann", cents=1)
        purse: Any = host.ref(Purse, "ann")
        host.fail(Purse, "double", with_=SoldOut)
        host.fail(Purse, "double", with_=Delay(seconds=0))

        with pytest.raises(SoldOut):
            await purse.double()

        assert [await purse.double(), await purse.double()] == [2, 4]


async def test_a_fault_affects_the_given_number_of_calls_or_all_until_it_ends() -> None:
    async with ObjectHost(Purse) as host:
        purse = host.ref(Purse, "ann")
        twice = host.fail(Purse, "add", with_=SoldOut, times=2)
        for _ in range(2):
            with pytest.raises(SoldOut):
                await purse.add(cents=1)
        assert await purse.add(cents=1) == 1

        always = host.fail(Purse, "peek", with_=SoldOut, times=None)
        for _ in range(3):
            with pytest.raises(SoldOut):
                await purse.peek()
        always.end()
        assert await purse.peek() == 1

    assert (twice.hits, always.hits) == (2, 3)


async def test_a_fault_may_affect_one_object_or_a_hook() -> None:
    async with ObjectHost(Purse) as host:
        host.fail(Purse, "on_create", with_=SoldOut, object_id="ben")

        await host.create(Purse, "ann", cents=3)
        with pytest.raises(SoldOut):
            await host.create(Purse, "ben", cents=3)

        assert await host.state(Purse, "ben") is None
        assert await host.create(Purse, "ben", cents=3) == {"cents": 3, "notes": ""}


async def test_faults_outlive_passivation_and_restart_and_stay_in_their_host() -> None:
    async with ObjectHost(Purse) as host, ObjectHost(Purse) as other:
        await host.ref(Purse, "ann").add(cents=1)
        host.fail(Purse, "add", with_=SoldOut, times=None)
        await host.passivate()
        await host.restart()

        with pytest.raises(SoldOut):
            await host.ref(Purse, "ann").add(cents=1)

        assert await other.ref(Purse, "ann").add(cents=1) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((Slow, "wait", 1), "does not serve Slow; it serves Purse"),
        ((Purse, "pay", 1), "no exported method or hook 'pay'; it has add, double, peek, write, on_create"),
        ((Purse, "add", 0), "times is 0"),
    ],
)
async def test_a_fault_that_could_never_occur_is_refused(arguments: tuple[type[Any], str, int], complaint: str) -> None:
    target, method, times = arguments
    with pytest.raises(ValueError, match=complaint):
        ObjectHost(Purse).fail(target, method, with_=SoldOut, times=times)


NO_FAULTS: dict[str, tuple[Callable[[ObjectHost], object], type[Exception], str]] = {
    "a text": (lambda host: host.fail(Purse, "add", with_=cast("Any", "boom")), TypeError, "with_=ConnectionError("),
    "nothing": (lambda host: host.fail(Purse, "add", cast("Any", None)), TypeError, "with_ is None"),
    "an exit": (lambda host: host.fail(Purse, "add", cast("Any", SystemExit())), TypeError, "not a fault"),
    "the class Delay": (lambda host: host.fail(Purse, "add", cast("Any", Delay)), TypeError, "with_ is Delay"),
    "the class LostAnswer": (lambda host: host.fail(Purse, "add", cast("Any", LostAnswer)), TypeError, "LostAnswer()"),
    "a class with arguments": (
        lambda host: host.fail(Purse, "add", UnicodeDecodeError),
        TypeError,
        "with_=UnicodeDecodeError(...)",
    ),
    "a delay as text": (lambda host: Delay(cast("Any", "1")), TypeError, "seconds is '1'"),
    "a negative delay": (lambda host: Delay(-1), ValueError, "seconds is -1; use a finite number of at least 0"),
    "an endless delay": (lambda host: Delay(float("inf")), ValueError, "seconds is inf"),
    "times as text": (lambda host: host.fail(Purse, "add", SoldOut, times=cast("Any", "2")), TypeError, "times is '2'"),
    "times as truth": (lambda host: host.fail(Purse, "add", SoldOut, times=True), TypeError, "times is True"),
    "id as number": (
        lambda host: host.fail(Purse, "add", SoldOut, object_id=cast("Any", 5)),
        TypeError,
        "object_id is 5; use a string, for example '5'",
    ),
    "empty id": (lambda host: host.fail(Purse, "add", SoldOut, object_id=""), MalformedRequest, "0 bytes"),
    "method as function": (
        lambda host: host.fail(Purse, cast("Any", Purse.add), SoldOut),
        TypeError,
        "method is the function Purse.add; use its name, 'add'",
    ),
    "mistyped method": (lambda host: host.fail(Purse, "ad", SoldOut), ValueError, "did you mean 'add'? It has add"),
    "type by name": (lambda host: host.fail(cast("Any", "Purse"), "add", SoldOut), TypeError, "'Purse' is not an obj"),
}


@pytest.mark.parametrize("case", NO_FAULTS)
def test_an_invalid_fault_is_refused_where_it_is_injected(case: str) -> None:
    inject, error, told = NO_FAULTS[case]

    with pytest.raises(error) as refused:
        inject(ObjectHost(Purse))

    assert told in str(refused.value)


async def test_the_fault_may_be_a_positional_argument() -> None:
    async with ObjectHost(Purse) as host:
        host.fail(Purse, "add", SoldOut("no cents"))
        with pytest.raises(SoldOut, match="no cents"):
            await host.ref(Purse, "ann").add(cents=1)


NO_HOSTS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "a list": (lambda: ObjectHost(cast("Any", [Purse])), TypeError, "ObjectHost(Order, Wallet)"),
    "a name": (lambda: ObjectHost(cast("Any", "Purse")), TypeError, "'Purse' is not an object type"),
    "a plain class": (lambda: ObjectHost(cast("Any", int)), TypeError, "int is not an object type"),
    "deadline as text": (lambda: ObjectHost(Purse, timeout_s=cast("Any", "5")), TypeError, "timeout_s is '5'"),
    "no deadline": (lambda: ObjectHost(Purse, timeout_s=0), ValueError, "timeout_s is 0; use a finite number greater"),
    "negative time": (lambda: ObjectHost(Purse, hook_timeout_s=-1), ValueError, "hook_timeout_s is -1"),
    "endless time": (lambda: ObjectHost(Purse, idle_timeout_s=float("nan")), ValueError, "idle_timeout_s is nan"),
    "no room": (lambda: ObjectHost(Purse, state_bytes_max=0), ValueError, "state_bytes_max is 0"),
    "half a call": (lambda: ObjectHost(Purse, mailbox_calls_max=cast("Any", 1.5)), TypeError, "mailbox_calls_max is"),
    "a word": (lambda: ObjectHost(Purse, process_hooks=cast("Any", "no")), TypeError, "process_hooks is 'no'"),
    "id as number": (lambda: ObjectHost(Purse).ref(Purse, cast("Any", 5)), TypeError, "the object id is 5"),
    "key of GoVerse": (
        lambda: ObjectHost(Purse).ref(Purse, "a", idempotency_key="~1"),
        MalformedRequest,
        "cannot begin with",
    ),
    "empty key": (lambda: ObjectHost(Purse).ref(Purse, "a", idempotency_key=""), MalformedRequest, "1 to 255"),
    "wrong namespace": (lambda: ObjectHost(Purse).ref(Purse, "a", namespace="/"), MalformedRequest, "namespace"),
    "caller as number": (lambda: ObjectHost(Purse).ref(Purse, "a", caller=cast("Any", 5)), TypeError, "caller is 5"),
    "acting as a name": (
        lambda: ObjectHost(Purse).acting_as(cast("Any", "Purse"), "a"),
        TypeError,
        "'Purse' is not an object type",
    ),
    "acting as a number": (lambda: ObjectHost(Purse).acting_as(Purse, cast("Any", 5)), TypeError, "object id is 5"),
    "acting, key of GoVerse": (
        lambda: ObjectHost(Purse).acting_as(Purse, "a").ref(Purse, "b", idempotency_key="gv-1"),
        MalformedRequest,
        "cannot begin with",
    ),
}


@pytest.mark.parametrize("case", NO_HOSTS)
def test_an_invalid_option_is_refused_when_the_host_is_made(case: str) -> None:
    make, error, told = NO_HOSTS[case]

    with pytest.raises(error) as refused:
        make()

    assert told in str(refused.value)


async def test_options_set_the_limits_of_the_node() -> None:
    Slow.release = asyncio.Event()
    async with ObjectHost(Purse, Slow, state_bytes_max=100, mailbox_calls_max=1) as host:
        with pytest.raises(TooLarge):
            await host.ref(Purse, "ann").write(text="x" * 200)
        first = [asyncio.ensure_future(host.ref(Slow, "s").wait()) for _ in range(2)]
        await asyncio.wait(first, timeout=0)
        with pytest.raises(Overloaded):
            await host.ref(Slow, "s").wait()
        Slow.release.set()
        await asyncio.gather(*first)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="state_byte_max"):
        ObjectHost(Purse, state_byte_max=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def test_a_host_that_is_not_running_raises_an_error() -> None:
    host = ObjectHost(Purse)
    with pytest.raises(GoverseError, match="the host is not running"):
        await host.ref(Purse, "ann").peek()
    await host.stop()

    await host.start()
    with pytest.raises(GoverseError, match="the host is already running"):
        await host.start()
    with pytest.raises(ObjectNotFound):
        await host.acting_as(Purse, "bob").delete(Purse, "ann")
    await host.stop()


async def test_a_type_that_was_not_passed_to_the_host_is_named_with_the_remedy() -> None:
    class Passed(Object):
        @call
        async def reach(self) -> None:
            await self.ref("Missing", "m").reach()

    async with ObjectHost(Passed) as host:
        with pytest.raises(MethodFailed) as failed:
            await host.ref(Passed, "p").reach()

    assert isinstance(failed.value.__cause__, UnknownType)
    assert "unknown object type 'Missing'; this application has Passed" in failed.value.detail
    assert failed.value.detail.endswith("pass each class that the test calls to the host")


def test_an_unknown_option_of_a_host_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(TypeError, match=r"ObjectHost has no option 'timeout'; did you mean 'timeout_s'\? Its options"):
        ObjectHost(Object, timeout=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_a_host_without_types_is_refused() -> None:
    with pytest.raises(TypeError, match="the host has no object types; pass the classes that the test calls"):
        ObjectHost()
