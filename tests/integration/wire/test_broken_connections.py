"""A server that dies, freezes or is cut off: every request ends, and its error says whether it may have run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest

from goverse.wire.link import GrpcLink
from goverse.wire.link_state import LinkPhase, LinkState
from goverse.wire.stats import WireStats
from tests.integration.wire.asking import ask, outcome
from tests.integration.wire.processes import served
from tests.integration.wire.proxy import proxy_to
from tests.links import QUICK, ledgers, link_to, pair, server_of
from tests.loop_time import LoopTime
from tests.nodes import until

KEEPALIVE_S, SILENCE_S_MAX = 10.0, 30.0  # longer than any test: they pass only when a test advances the time
PATIENT = replace(QUICK, keepalive_s=KEEPALIVE_S, silence_s_max=SILENCE_S_MAX)
STEP_S = 0.6 * KEEPALIVE_S  # below a keepalive: after a longer gap the link assumes that its own process slept


def phases(link: GrpcLink) -> list[LinkPhase]:
    seen: list[LinkPhase] = []
    link.watch(lambda state: seen.append(state.phase))
    return seen


@pytest.mark.chaos
async def test_after_a_server_is_killed_sent_requests_are_unknown_and_the_link_is_broken() -> None:
    async with served() as server, link_to(server.address) as link:
        waiting = [ask(link, "add_later", f"o{index}") for index in range(50)]
        assert (await ask(link, "add", "other")).body == b"1"
        server.send(signal.SIGKILL)

        assert {outcome(await future) for future in waiting} == {("unavailable", "unknown")}
        await until(lambda: link.state.phase is LinkPhase.BROKEN)
        assert outcome(await ask(link, "add")) == ("unavailable", "no")
        assert not link.readiness().ready
        assert server.address in link.readiness().reasons[0]


@pytest.mark.chaos
async def test_a_node_that_died_is_named_in_the_log_without_a_guess_at_the_settings(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with served() as server, link_to(server.address) as link:
        server.send(signal.SIGKILL)
        await until(lambda: link.state.phase is LinkPhase.BROKEN)
        told = [vars(record) for record in caplog.records if record.message == "node unreachable"]
        assert [(each["node"], each["address"]) for each in told] == [(link.state.peer.id, server.address)]  # type: ignore[union-attr]
        assert "TLS" not in told[0]["reason"]


async def test_a_node_that_was_never_reached_is_named_as_etcd_names_it(caplog: pytest.LogCaptureFixture) -> None:
    async with link_to("127.0.0.1:1", connected=False, name_of=lambda _: "node-7") as link:
        await until(lambda: link.state.phase is LinkPhase.BROKEN)
        told = [vars(record) for record in caplog.records if record.message == "node unreachable"]
        assert [each["node"] for each in told] == ["node-7"]


@pytest.mark.chaos
async def test_a_frozen_server_is_detected_by_its_silence_and_used_again_when_it_continues(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with served() as server, link_to(server.address, options=PATIENT) as link:
        server.stop()
        stuck = ask(link, "add", timeout_s=10 * SILENCE_S_MAX)
        await LoopTime(monkeypatch).advance_until(stuck.done, step_s=STEP_S, most_s=2 * SILENCE_S_MAX)

        assert outcome(await stuck) == ("unavailable", "unknown")
        assert link.state.phase is not LinkPhase.CONNECTED
        server.send(signal.SIGCONT)
        await until(lambda: link.state.phase is LinkPhase.CONNECTED)
        assert (await ask(link, "add", "other")).body == b"1"


async def test_an_idle_connection_stays_as_long_as_the_other_side_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = WireStats(), WireStats()
    async with (
        ledgers() as node,
        server_of(node, options=PATIENT, stats=theirs) as (server, address),
        link_to(address, options=PATIENT, stats=ours) as link,
    ):
        time, seen, server_side = LoopTime(monkeypatch), phases(link), server.peers
        while time.ahead_s < 6 * SILENCE_S_MAX:
            heard = [stats.message_bytes_in for stats in (ours, theirs)]
            await time.advance(STEP_S)
            await time.advance(STEP_S)
            await until(partial(_heard_more, (ours, theirs), heard))

        assert seen == []
        assert server.peers == server_side


def _heard_more(sides: Iterable[WireStats], heard: list[int]) -> bool:
    return all(stats.message_bytes_in > before for stats, before in zip(sides, heard, strict=True))


async def test_a_cut_connection_is_made_again_and_the_next_requests_pass() -> None:
    async with (
        ledgers() as node,
        server_of(node) as (server, address),
        proxy_to(address) as proxy,
        link_to(proxy.address) as link,
    ):
        stuck = ask(link, "add_later")
        await until(lambda: server.inflight == 1)
        proxy.cut()

        assert outcome(await stuck) == ("unavailable", "unknown")
        await until(lambda: link.state.phase is LinkPhase.CONNECTED)
        assert (await ask(link, "add", "other")).body == b"1"
        assert proxy.connections >= 2
        await until(lambda: len(server.peers) == 1)
        assert server.inflight == 0


async def test_both_sides_notice_a_connection_that_passes_no_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        ledgers() as node,
        server_of(node, options=PATIENT) as (server, address),
        proxy_to(address) as proxy,
        link_to(proxy.address, options=PATIENT) as link,
    ):
        stuck = [ask(link, "add_later", timeout_s=10 * SILENCE_S_MAX) for _ in range(3)]
        await until(lambda: server.inflight == 3)
        proxy.block()
        time, ended = LoopTime(monkeypatch), asyncio.gather(*stuck)
        await time.advance_until(ended.done, step_s=STEP_S, most_s=2 * SILENCE_S_MAX)

        assert {outcome(reply) for reply in await ended} == {("unavailable", "unknown")}
        await time.advance_until(lambda: server.peers == (), step_s=STEP_S, most_s=2 * SILENCE_S_MAX)
        await until(lambda: server.inflight == 0)


async def test_a_loss_drops_requests_that_have_not_begun() -> None:
    async with (
        ledgers() as node,
        server_of(node) as (server, address),
        proxy_to(address) as proxy,
        link_to(proxy.address) as link,
    ):
        running, queued = ask(link, "add_later"), ask(link, "add", arguments={"amount": 100})
        await until(lambda: server.inflight == 2)
        proxy.cut()
        await asyncio.gather(running, queued)
        await until(lambda: link.state.phase is LinkPhase.CONNECTED)
        later = ask(link, "add", timeout_s=5.0)
        await until(lambda: server.inflight == 1)
        _open_the_door()

        assert (await later).body == b"2"


def _open_the_door() -> None:
    from goverse.testing.link_objects import Door

    Door.open()


async def test_requests_wait_for_the_first_attempt_and_are_refused_when_it_fails() -> None:
    async with ledgers() as node, server_of(node) as (_, address), link_to(address, connected=False) as link:
        assert link.state.phase is LinkPhase.CONNECTING
        assert (await ask(link, "add")).body == b"1"
    async with link_to(address, connected=False) as link:
        waiting = ask(link, "add")
        assert not waiting.done()
        assert outcome(await waiting) == ("unavailable", "no")
        assert link.state.phase is LinkPhase.BROKEN


async def test_a_broken_link_keeps_the_time_of_the_break_and_no_request_waits() -> None:
    async with ledgers() as node, server_of(node) as (_, address):
        pass
    async with proxy_to(address) as proxy, link_to(proxy.address, connected=False) as link:
        await until(lambda: link.state.phase is LinkPhase.BROKEN)
        since, attempts = link.state.since, proxy.connections
        await until(lambda: proxy.connections >= attempts + 3)

        assert (link.state.phase, link.state.since) == (LinkPhase.BROKEN, since)
        assert ask(link, "add").done()


@pytest.mark.requirement("GATE-6")
async def test_a_deadline_ends_a_wait_for_a_server_that_says_nothing() -> None:
    async with (
        ledgers() as node,
        server_of(node) as (server, address),
        proxy_to(address) as proxy,
        link_to(proxy.address) as link,
    ):
        proxy.block()
        stuck = ask(link, "add", timeout_s=0.2)

        assert outcome(await stuck) == ("timeout", "unknown")
        proxy.unblock()
        await until(lambda: server.inflight == 0)


@pytest.mark.requirement("GATE-6")
async def test_a_deadline_ends_a_wait_for_a_connection() -> None:
    async with ledgers() as node, server_of(node) as (_, address), proxy_to(address) as proxy:
        proxy.block()
        async with link_to(proxy.address, connected=False) as link:
            assert outcome(await ask(link, "add", timeout_s=0.2)) == ("timeout", "no")


async def test_a_server_without_a_handshake_times_out() -> None:
    async with ledgers() as node, server_of(node) as (_, address), proxy_to(address) as proxy:
        proxy.block()
        options = replace(QUICK, connect_timeout_s=0.1)
        async with link_to(proxy.address, connected=False, options=options) as link:
            assert outcome(await ask(link, "add")) == ("unavailable", "no")
            assert "0.1 s" in link.state.reason


async def test_a_closed_link_refuses_requests_and_pending_ones_are_unknown() -> None:
    async with pair() as ends:
        stuck = ask(ends.link, "add_later")
        await until(lambda: ends.server.inflight == 1)
        states: list[LinkState] = []
        ends.link.watch(states.append)
        await ends.link.close()

        assert outcome(await stuck) == ("unavailable", "unknown")
        assert outcome(await ask(ends.link, "add")) == ("unavailable", "no")
        assert states[-1].phase is LinkPhase.CLOSED
        await until(lambda: ends.server.inflight == 0)


async def test_a_watcher_that_fails_or_has_left_does_not_affect_others(caplog: pytest.LogCaptureFixture) -> None:
    async with ledgers() as node, server_of(node) as (_, address), link_to(address) as link:
        seen: list[LinkPhase] = []
        leave = link.watch(lambda state: seen.append(state.phase))
        leave()

        def fail(state: LinkState) -> None:
            raise RuntimeError("an error of the watcher")

        link.watch(fail)
        others = phases(link)
        await link.close()

    assert seen == []
    assert others[-1] is LinkPhase.CLOSED
    assert "a link watcher failed" in caplog.messages
