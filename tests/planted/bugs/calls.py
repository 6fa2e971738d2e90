"""Bugs in the output gate, idempotency keys, routing and the embedded log."""

from __future__ import annotations

from typing import Any, Final

import pytest

from goverse.cluster.election import Election
from goverse.cluster.keys import KeyKind, KeyLayout, ParsedKey
from goverse.cluster.parking import Parking
from goverse.cluster.retry_state import Miss, RetryState
from goverse.cluster.table import ShardTable
from goverse.errors import GoverseError
from goverse.model.frames import Problem, Request
from goverse.ports.link import Waiter
from goverse.routing import routed_call
from goverse.routing.router import Router
from goverse.wire import codec
from goverse.wire.incoming import Incoming
from goverse_node.runtime import output_gate
from goverse_node.runtime.group_commit import CommitPipeline, PendingCommit
from goverse_node.stores.wal import scan
from tests.planted import Planted

_GATES: Final = "tests/unit/node/test_output_gates.py::"
_KEYS: Final = "tests/unit/node/test_idempotency.py::"


def _answer_before_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    original = CommitPipeline.append

    def append(self: CommitPipeline, pending: PendingCommit) -> None:
        original(self, pending)
        if pending.call is not None:
            pending.call.answer(pending.reply)

    monkeypatch.setattr(CommitPipeline, "append", append)


def _keep_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output_gate, "StoredReply", lambda *_: None)


def _forget_the_lost_send(monkeypatch: pytest.MonkeyPatch) -> None:
    original = RetryState.missed

    def missed(self: RetryState, miss: object, now: float) -> None:
        original(self, miss, now)  # type: ignore[arg-type]
        self._lost = 0

    monkeypatch.setattr(RetryState, "missed", missed)


def _vouch_for_lost_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routed_call, "replace", lambda value, **_: value)


def _believe_the_older_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    original = ShardTable._choose

    def choose(self: ShardTable, touched: set[int]) -> set[int]:
        for shard in touched:
            oldest = sorted(self._claimants[shard].items(), key=lambda claim: claim[1])[:1]
            self._claimants[shard] = dict(oldest)
        return original(self, touched)

    monkeypatch.setattr(ShardTable, "_choose", choose)


def _take_any_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(self: KeyLayout, key: str) -> ParsedKey | None:
        word, _, name = key.removeprefix(self.prefix).partition("/")
        return ParsedKey(KeyKind(word), name) if word in {kind.value for kind in KeyKind} else None

    monkeypatch.setattr(KeyLayout, "parse", parse)


def _lead_for_an_earlier_process(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Election.seen

    def seen(self: Election, value: bytes | None, create_revision: int) -> None:
        mine = value is not None and value.split(b" ")[0] == self.value.split(b" ")[0]
        original(self, self.value if mine else value, create_revision)

    monkeypatch.setattr(Election, "seen", seen)


def _park_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Parking.__init__

    def init(self: Parking[object], calls_max: int) -> None:
        original(self, 10 * calls_max)

    monkeypatch.setattr(Parking, "__init__", init)


def _take_any_body(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Incoming.refusal

    def refusal(self: Incoming, number: int, request: object) -> GoverseError | None:
        refused = original(self, number, request)  # type: ignore[arg-type]
        return None if refused is not None and refused.code == "too_large" else refused

    monkeypatch.setattr(Incoming, "refusal", refusal)


def _ignore_checksums(monkeypatch: pytest.MonkeyPatch) -> None:
    class Whatever(int):
        def __eq__(self, _: object) -> bool:
            return True

        def __ne__(self, _: object) -> bool:
            return False

        __hash__ = int.__hash__

    monkeypatch.setattr(scan, "crc32", lambda *_: Whatever(0))


def _key_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Router.carry

    def carry(self: Router, request: Request, waiter: Waiter) -> None:
        if request.delivery is not None:
            request.idempotency_key, request.fresh_key = f"{self._key_prefix}{next(self._numbers):x}", True
        original(self, request, waiter)

    monkeypatch.setattr(Router, "carry", carry)


def _resend_lost_deliveries(monkeypatch: pytest.MonkeyPatch) -> None:
    original = routed_call.miss_of

    def miss_of(problem: Problem) -> object:
        miss = original(problem)
        return Miss.UNSENT if miss is Miss.LOST else miss

    monkeypatch.setattr(routed_call, "miss_of", miss_of)


def _send_deliveries_to_older_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    original = codec.write_requests

    def write_requests(*frames: Any, takes_deliveries: bool = True) -> Any:
        del takes_deliveries
        return original(*frames)

    monkeypatch.setattr(codec, "write_requests", write_requests)


PLANTED: Final = (
    Planted(
        "deliveries-get-idempotency-keys",
        _key_deliveries,
        "tests/unit/routing/test_keys_of_calls.py::test_the_delivery_of_a_reliable_call_has_no_key",
        "assert",
    ),
    Planted(
        "lost-deliveries-are-sent-again",
        _resend_lost_deliveries,
        "tests/unit/routing/test_verdicts.py::"
        "test_a_delivery_is_sent_again_only_if_it_provably_did_not_run[error3-followed3]",
        "assert",
    ),
    Planted(
        "older-peers-get-deliveries",
        _send_deliveries_to_older_peers,
        "tests/unit/wire/test_codec.py::test_no_delivery_is_written_for_a_peer_that_would_run_it_as_an_ordinary_call",
        "not enough values to unpack",
    ),
    Planted(
        "replies-leave-before-their-commit",
        _answer_before_the_commit,
        f"{_GATES}test_no_reply_leaves_before_its_commit",
        "assert",
    ),
    Planted("replies-are-not-kept", _keep_no_key, f"{_KEYS}test_records_carry_the_key_with_the_effect", "assert"),
    Planted(
        "a-lost-send-is-no-attempt",
        _forget_the_lost_send,
        "tests/unit/cluster/test_retry_state.py::test_a_lost_call_is_sent_as_another_attempt",
        "assert",
    ),
    Planted(
        "the-last-attempt-vouches-for-a-lost-one",
        _vouch_for_lost_attempts,
        "tests/unit/routing/test_verdicts.py::"
        "test_a_last_attempt_without_effect_does_not_vouch_for_an_earlier_one[error0-1-unknown]",
        "Executed.UNKNOWN",
    ),
    Planted(
        "the-older-claim-is-believed",
        _believe_the_older_claim,
        "tests/unit/cluster/test_table.py::test_claims_become_routes_and_the_higher_epoch_wins",
        "assert",
    ),
    Planted(
        "foreign-keys-are-taken",
        _take_any_key,
        "tests/unit/cluster/test_keys.py::test_unknown_keys_are_not_parsed[/goverse/main/pins/007]",
        "assert",
    ),
    Planted(
        "the-leadership-of-an-earlier-process-counts",
        _lead_for_an_earlier_process,
        "tests/unit/cluster/test_election.py::test_the_leadership_of_an_earlier_process_is_not_inherited",
        "assert",
    ),
    Planted(
        "any-number-of-calls-is-parked",
        _park_without_bound,
        "tests/unit/cluster/test_parking.py::test_full_parking_refuses_calls",
        "DID NOT RAISE",
    ),
    Planted(
        "a-peer-may-send-any-body",
        _take_any_body,
        "tests/unit/wire/test_incoming.py::test_bodies_from_objects_may_be_larger_than_bodies_from_a_gate",
        "assert",
    ),
    Planted(
        "checksums-of-the-log-are-ignored",
        _ignore_checksums,
        "tests/integration/stores/test_bit_flips.py::test_every_bit_of_a_header_and_a_record_counts[short]",
        "assert",
    ),
)
