"""Callers that begin chains of payments between accounts, and the judgement of the bank at the end.

Each chain has an idempotency key and is repeated until it is answered, so the number of chains is known. What happens
after that is up to the nodes: no caller waits for a payment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import asyncpg

from goverse_node.stores.postgres.verify import verify
from tests.chaos.bank import CHAINS_PER_AUDITOR
from tests.chaos.bank_books import AccountLogs, Books
from tests.chaos.load import Load
from tests.chaos.stage import Bound, Stage

CALLERS = 6
ACCOUNTS = 200
STEPS_MAX = 4
CENTS_MAX = 400
PAUSE_S = 0.2
POLL_S = 0.1
PATIENCE_S = 120.0
GRACE_S = 30.0

PENDING = "SELECT count(*) FROM goverse.outbox"
FIRST_PENDING = """
    SELECT convert_from(sender_id, 'UTF8') || ' to ' || convert_from(receiver_id, 'UTF8') ||
        ' after ' || attempts || ' attempts' FROM goverse.outbox ORDER BY seq, part LIMIT 5
"""


class Bank:
    """The callers of a bank.

    Attributes:
        begun: the first payment of each chain that began.
    """

    def __init__(self, load: Load) -> None:
        self.begun: list[str] = []
        self._load = load
        self._name = f"{load.name}-bank"
        self._chains = count(1)
        self._stopped = asyncio.Event()

    async def call_on(self, gate: int) -> None:
        """Begin chains until stopped."""
        chance = self._load.chance
        while not self._stopped.is_set():
            await asyncio.sleep(chance.uniform(0, 2 * PAUSE_S))
            chain = next(self._chains)
            source, *through = (self._account(chance.randrange(ACCOUNTS)) for _ in range(chance.randint(2, STEPS_MAX)))
            body = {"chain": chain, "through": through, "cents": chance.randint(1, CENTS_MAX)}
            answer = await self._load.answered(gate, ("Account", source), "begin", body, f"{self._name}-{chain}")
            assert answer.status == 200, f"an account answered {answer.status}: {answer.text}"
            if answer.value():
                self.begun.append(f"{chain}.{len(through)}")

    def stop(self) -> None:
        """Begin no more chains."""
        self._stopped.set()

    def _account(self, number: int) -> str:
        return f"{self._name}-{number}"

    async def books(self) -> Books:
        """Read the logs of all accounts and auditors."""
        accounts: dict[str, AccountLogs] = {}
        for account in map(self._account, range(ACCOUNTS)):
            cents, still_open, *logs = await self._load.asked(("Account", account), "logs")
            accounts[account] = AccountLogs(cents, still_open, *([(a, b) for a, b in log] for log in logs))
        audited: list[str] = []
        for number in range(next(self._chains) // CHAINS_PER_AUDITOR + 1):
            audited += await self._load.asked(("Auditor", f"{self._name}-audit{number}"), "logs")
        return Books(accounts, audited, self.begun)


@asynccontextmanager
async def trading(stage: Stage) -> AsyncIterator[Bank]:
    """Begin chains while the block runs, wait until no call is pending, and check the books.

    Raises:
        AssertionError: a payment is lost, took effect twice or out of order, or has not ended.
    """
    bank = Bank(stage.load)
    callers = [asyncio.create_task(bank.call_on(number)) for number in range(CALLERS)]
    try:
        yield bank
    finally:
        bank.stop()
        await asyncio.gather(*callers)
    await ended(stage)
    books = await bank.books()
    assert not (found := books.complaints()), "\n     ".join(found)
    stage.tell(f"{len(books.begun)} chains, {books.payments} payments, each with one effect and one outcome")


async def ended(stage: Stage) -> None:
    """Wait until no reliable call is pending, and check the database.

    Raises:
        AssertionError: calls are still pending after ``PATIENCE_S``, or the database is inconsistent.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    connection = await asyncpg.connect(stage.processes.postgres.dsn)
    try:
        while pending := await connection.fetchval(PENDING):
            if loop.time() - began > PATIENCE_S:
                first = "; ".join(row[0] for row in await connection.fetch(FIRST_PENDING))
                raise AssertionError(f"{pending} calls are still pending after {PATIENCE_S:g} s: {first}")
            await asyncio.sleep(POLL_S)
        took_s = loop.time() - began
        stage.bounds.append(Bound("no call is pending after", took_s, stage.lease_ttl_s + GRACE_S))
        wrong = [f"{each.check}: {row}" for each in await verify(connection) for row in each.wrong]
        assert not wrong, f"the database is inconsistent: {wrong}"
    finally:
        await connection.close()
