"""What callers were told, and what follows from it.

``ACCOUNT`` is the object under test: it counts its entries, so an entry that was applied twice or lost shows in every
later answer. The ``Ledger`` keeps the first answer to each call; a repeated call must get the same answer.
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
    """One call: the same key is never used for another one."""

    account: str
    key: str
    amount: int

    @property
    def body(self) -> bytes:
        """The arguments; the note makes the state large enough for snapshots to come often."""
        return json.dumps({"amount": self.amount, "note": self.key + "." * 300}).encode()


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller was told."""

    body: bytes
    etag: str
    commit_seq: int

    @classmethod
    def by(cls, answer: Answer) -> Told:
        """Read an answer."""
        assert answer.status == 200, (answer.status, answer.body)
        return cls(answer.body, answer.headers["etag"], int(answer.headers["goverse-commit-seq"]))


class Ledger:
    """All answered postings.

    Attributes:
        told: the first answer to each.
        replays: how many answers came from an idempotency record.
        unheard: how many of these were the first that the caller heard: the one before was lost with the server.
    """

    def __init__(self) -> None:
        """Nothing was answered."""
        self.told: dict[Posting, Told] = {}
        self.replays = 0
        self.unheard = 0

    def note(self, posting: Posting, answer: Answer) -> None:
        """Keep an answer, or compare it with the one that was given before."""
        told = Told.by(answer)
        replayed = answer.headers.get("idempotency-replayed") == "true"
        assert replayed or posting not in self.told, f"{posting} was carried out again"
        self.replays += replayed
        self.unheard += replayed and posting not in self.told
        first = self.told.setdefault(posting, told)
        assert told == first, f"{posting} was answered {first} and then {told}"

    def check_gapless(self) -> None:
        """All postings of an account have consecutive entries and versions, in the order of their positions."""
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
        """No two postings share a position."""
        assert len({told.commit_seq for told in self.told.values()}) == len(self.told)

    @property
    def last_seq(self) -> int:
        """The newest position that anybody was told."""
        return max((told.commit_seq for told in self.told.values()), default=0)

    def entries(self, account: str) -> int:
        """How many postings of an account were answered."""
        return sum(posting.account == account for posting in self.told)


async def post(wire: Wire, posting: Posting) -> Answer:
    """Call once."""
    await wire.send(
        request(
            "POST",
            f"/objects/Account/{posting.account}/call/post",
            posting.body,
            headers={"Idempotency-Key": posting.key},
        )
    )
    return await wire.answer()
