"""Limits over all connections: bytes are counted, and the connection blocked the longest is closed first."""

from __future__ import annotations

import pytest

from goverse_gate.memory_bounds import Budget, Unsent


class Client:
    """A connection whose client does not read."""

    def __init__(self, unsent: Unsent) -> None:
        self.unsent = unsent
        self.was_cut = False

    def cut(self) -> None:
        self.was_cut = True

    def block(self, size: int) -> None:
        self.unsent.note(self, size)
        self.unsent.enforce()


@pytest.mark.requirement("GATE-9")
def test_the_connection_blocked_for_the_longest_time_is_closed_first() -> None:
    unsent = Unsent(10)
    clients = [Client(unsent) for _ in range(4)]
    for client in clients:
        client.block(4)
    assert [client.was_cut for client in clients] == [True, True, False, False]
    assert (unsent.total, unsent.cuts) == (8, 2)


def test_a_client_that_reads_loses_its_place_among_the_blocked() -> None:
    unsent = Unsent(10)
    slow, reader = Client(unsent), Client(unsent)
    reader.block(4)
    slow.block(4)
    unsent.note(reader, 0)
    reader.block(4)
    Client(unsent).block(4)
    assert (slow.was_cut, reader.was_cut) == (True, False)


def test_a_size_that_changes_counts_once() -> None:
    unsent = Unsent(10)
    client = Client(unsent)
    for size in (9, 5, 7):
        client.block(size)
    assert (unsent.total, client.was_cut) == (7, False)
    unsent.note(client, 0)
    unsent.note(client, 0)
    assert unsent.total == 0


def test_one_response_above_the_limit_closes_its_own_connection() -> None:
    unsent = Unsent(10)
    client = Client(unsent)
    client.block(11)
    assert (client.was_cut, unsent.total) == (True, 0)


def test_many_closed_connections_give_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    unsent = Unsent(0)
    for _ in range(50):
        Client(unsent).block(1)
    assert unsent.cuts == 50
    assert len(caplog.records) == 1


def test_a_budget_is_exceeded_above_its_limit() -> None:
    budget = Budget(10)
    budget.used += 10
    assert not budget.exceeded
    budget.used += 1
    assert budget.exceeded
