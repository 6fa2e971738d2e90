"""The handshake and liveness."""

from __future__ import annotations

import pytest

from goverse.errors import PeerError
from goverse.wire.handshake import CANCEL, DELIVERIES, FEATURES, LIST, RESERVED, Agreement, Hello, agree
from goverse.wire.liveness import Liveness, Verdict

OURS = Hello(kind="gate", id="g1", release="1.1", versions=(1, 2))


@pytest.mark.requirement("QUA-6")
def test_the_highest_shared_version_and_the_shared_features_are_used() -> None:
    older = Hello(kind="node", id="n1", release="1.0", versions=(1,), features=frozenset({CANCEL}))
    newer = Hello(kind="node", id="n1", versions=(2, 3), features=FEATURES | {"telepathy"})

    assert agree(OURS, older) == Agreement(1, frozenset({CANCEL}))
    assert agree(OURS, newer) == Agreement(2, FEATURES)
    assert LIST in agree(OURS, newer).features


@pytest.mark.requirement("QUA-6")
def test_names_of_later_features_are_reserved_and_none_is_announced_or_agreed_on() -> None:
    assert {"identity", "follow", "inspect", "topics", "query", "resize"} == RESERVED
    assert not RESERVED & OURS.features
    newer = Hello(kind="node", id="n1", features=FEATURES | RESERVED)
    assert agree(OURS, newer).features == FEATURES


@pytest.mark.requirement("DUR-3", "QUA-6")
def test_deliveries_are_agreed_on_only_if_both_sides_know_them() -> None:
    older = Hello(kind="node", id="n1", features=FEATURES - {DELIVERIES})

    assert DELIVERIES in agree(OURS, Hello(kind="node", id="n1")).features
    assert DELIVERIES not in agree(OURS, older).features


@pytest.mark.requirement("QUA-6")
def test_without_a_shared_version_the_error_names_the_versions_of_both() -> None:
    stranger = Hello(kind="node", id="n1", release="9.0", versions=(7, 8))

    with pytest.raises(PeerError, match=r"node n1 \(9.0\) supports 7, 8.*gate g1 \(1.1\) supports 1, 2"):
        agree(OURS, stranger)
    with pytest.raises(PeerError, match="none"):
        agree(OURS, Hello(kind="node", id="n1", versions=()))


def test_a_silent_peer_is_pinged_once_and_then_given_up() -> None:
    life = Liveness(0.0, keepalive_s=2.0, silence_s_max=8.0)
    seen = [life.check(tenth / 10) for tenth in range(1, 81)]

    assert [index + 1 for index, verdict in enumerate(seen) if verdict is Verdict.PING] == [20]
    assert seen[-2:] == [Verdict.WAIT, Verdict.GIVE_UP]


def test_every_envelope_restarts_the_silence() -> None:
    life = Liveness(0.0, keepalive_s=2.0, silence_s_max=8.0)
    verdicts = []
    for tenth in range(1, 200):
        if tenth % 30 == 0:
            life.received(tenth / 10)
        verdicts.append(life.check(tenth / 10))

    assert Verdict.GIVE_UP not in verdicts
    assert verdicts.count(Verdict.PING) == 6


def test_time_during_which_the_process_was_stopped_does_not_count() -> None:
    life = Liveness(0.0, keepalive_s=2.0, silence_s_max=8.0)
    life.check(0.1)

    assert life.check(60.0) is Verdict.WAIT
    assert [life.check(60.0 + tenth / 10) for tenth in range(1, 81)][-1] is Verdict.GIVE_UP
