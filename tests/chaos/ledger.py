"""The responses that callers received, and checks of what must hold because of them.

``ACCOUNT`` is the object type under test. It counts its entries, so an entry that was lost or applied twice is visible
in every later response. The ``Ledger`` keeps the first response to each call; a repeated call must get the same one.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass

from tests.gate.wire import Answer, Wire, request

ACCOUNT = '''
from goverse import Object, call


class Account(Object):
    """Adds up."""

    entries: int = 0
    balance: int = 0
    notes: list[str] = []

    @call
    async def post(self, amount: int, note: str) -> dict[str, int]:
        """Add an entry; the last notes stay."""
        self.entries += 1
        self.balance += amount
        self.notes = [*self.notes[-3:], note]
        return {"entry": self.entries, "balance": self.balance}
'''


@dataclass(frozen=True, slots=True)
class Posting:
    """One call. Its key is never used for another call."""

    account: str
    key: str
    amount: int

    @property
    def body(self) -> bytes:
        """The request body. The note makes the state large enough that snapshots are frequent."""
        return json.dumps({"amount": self.amount, "note": self.key + "." * 300}).encode()


@dataclass(frozen=True, slots=True)
class Told:
    """The response to a posting."""

    body: bytes
    etag: str
    commit_seq: int

    @classmethod
    def by(cls, answer: Answer) -> Told:
        """Parse a response."""
        assert answer.status == 200, (answer.status, answer.body)
        return cls(answer.body, answer.headers["etag"], int(answer.headers["goverse-commit-seq"]))


class Ledger:
    """All answered postings.

    Attributes:
        told: the first response to each posting.
        replays: number of responses that came from an idempotency record.
        unheard: number of these that were the first response to reach the caller, because an earlier one was lost.
    """

    def __init__(self) -> None:
        """Start without postings."""
        self.told: dict[Posting, Told] = {}
        self.replays = 0
        self.unheard = 0

    def note(self, posting: Posting, answer: Answer) -> None:
        """Record a response, or compare it with the first response to the same posting."""
        told = Told.by(answer)
        replayed = answer.headers.get("idempotency-replayed") == "true"
        assert replayed or posting not in self.told, f"{posting} took effect again"
        self.replays += replayed
        self.unheard += replayed and posting not in self.told
        first = self.told.setdefault(posting, told)
        assert told == first, f"{posting} was answered {first} and then {told}"

    def check_gapless(self) -> None:
        """Check that the postings of each account have consecutive entries and versions, in order of position."""
        by_account: defaultdict[str, list[tuple[int, Posting, Told]]] = defaultdict(list)
        for posting, told in self.told.items():
            by_account[posting.account].append((json.loads(told.body)["entry"], posting, told))
        for account, entries in by_account.items():
            entries.sort(key=lambda entry: entry[0])
            balance = last_seq = 0
            for number, (entry, posting, told) in enumerate(entries, 1):
                balance += posting.amount
                assert entry == number, f"{account} has no entry {number}: lost, or applied twice"
                assert json.loads(told.body)["balance"] == balance
                assert told.etag == f'"{number}"'
                assert told.commit_seq > last_seq
                last_seq = told.commit_seq

    def check_positions(self) -> None:
        """Check that no two postings have the same position."""
        assert len({told.commit_seq for told in self.told.values()}) == len(self.told)

    @property
    def last_seq(self) -> int:
        """The highest position in any response."""
        return max((told.commit_seq for told in self.told.values()), default=0)

    def entries(self, account: str) -> int:
        """Return the number of answered postings of an account."""
        return sum(posting.account == account for posting in self.told)


async def post(wire: Wire, posting: Posting) -> Answer:
    """Send one call."""
    await wire.send(
        request(
            "POST",
            f"/objects/Account/{posting.account}/call/post",
            posting.body,
            headers={"Idempotency-Key": posting.key},
        )
    )
    return await wire.answer()
