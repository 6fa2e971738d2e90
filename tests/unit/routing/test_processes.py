"""Processes that ended while they had a call: which ones count, and when a plain call is not carried further."""

import pytest

from goverse.cluster.member import Member, MemberState
from goverse.errors import Executed
from goverse.routing.processes import Processes, ended_with

SERVING, DRAINING, RESTARTING = MemberState.SERVING, MemberState.DRAINING, MemberState.RESTARTING


def members(**incarnations: tuple[str, MemberState]) -> dict[str, Member]:
    return {
        node: Member(node, f"{node}:1", incarnation, state=state) for node, (incarnation, state) in incarnations.items()
    }


@pytest.mark.requirement("CLU-3")
def test_a_plain_call_that_three_processes_ended_with_is_suspected() -> None:
    processes = Processes()
    processes.follow(members(a=("a1", SERVING), b=("b1", SERVING)))
    lost = [processes.at("a"), processes.at("b")]
    processes.follow(members(a=("a2", SERVING)))
    assert processes.refusal(lost) is None

    lost.append(processes.at("a"))
    processes.follow({})

    error = processes.refusal(lost)
    assert error is not None
    assert (lost, error.code, error.link_verdict) == (["a1", "b1", "a2"], "suspected_crash", Executed.UNKNOWN)


@pytest.mark.requirement("CLU-3")
def test_one_process_that_was_lost_twice_counts_once() -> None:
    processes = Processes()
    processes.follow(members(a=("a1", SERVING)))
    processes.follow({})
    assert processes.has_ended("a1")
    assert processes.refusal(["a1", "a1", "a1"]) is None


@pytest.mark.requirement("CLU-3")
def test_broken_connections_to_living_processes_are_no_sign() -> None:
    processes = Processes()
    processes.follow(members(a=("a1", SERVING), b=("b1", SERVING), c=("c1", SERVING)))
    assert processes.refusal(["a1", "b1", "c1"]) is None


@pytest.mark.requirement("CLU-3")
@pytest.mark.parametrize("state", [DRAINING, RESTARTING])
def test_processes_that_ended_on_purpose_are_no_sign(state: MemberState) -> None:
    processes = Processes()
    processes.follow(members(a=("a1", SERVING), b=("b1", SERVING), c=("c1", SERVING)))
    processes.follow(members(a=("a1", state), b=("b1", state), c=("c1", state)))
    processes.follow({})
    assert not processes.has_ended("a1")
    assert processes.refusal(["a1", "b1", "c1"]) is None


def test_an_unknown_process_has_not_ended() -> None:
    processes = Processes()
    processes.follow({})
    assert (processes.at("a"), processes.has_ended("")) == ("", False)


@pytest.mark.requirement("DUR-3")
def test_a_delivery_that_was_not_repeated_says_that_it_did_not_run() -> None:
    error = ended_with("a1")
    assert (error.code, error.link_verdict) == ("suspected_crash", Executed.NO)
    assert "a1" in str(error)
