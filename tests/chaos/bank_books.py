"""Comparison of the logs of a bank: every payment has one effect and one outcome, in the order of its pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from tests.chaos.bank import CENTS, is_refused

NAMES_SHOWN = 5

Log = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class AccountLogs:
    """The logs of one account; see ``tests.chaos.bank.Account``."""

    cents: int = CENTS
    open: Sequence[str] = ()
    sent: Log = ()
    received: Log = ()
    ended: Log = ()


@dataclass(frozen=True)
class Books:
    """The logs of a bank.

    Attributes:
        accounts: the logs of each account.
        audited: the payments that the auditors noted.
        begun: the first payment of each chain whose caller learnt that it had begun.
    """

    accounts: Mapping[str, AccountLogs]
    audited: Sequence[str]
    begun: Sequence[str]
    _found: list[str] = field(init=False, repr=False, default_factory=list[str])

    @property
    def payments(self) -> int:
        """The number of payments that were sent."""
        return sum(len(logs.sent) for logs in self.accounts.values())

    def complaints(self) -> list[str]:
        """Return what is wrong, one sentence for each."""
        self._found.clear()
        sums = sum(logs.cents for logs in self.accounts.values())
        if sums != CENTS * len(self.accounts):
            self._found.append(f"the accounts hold {sums} cents instead of {CENTS * len(self.accounts)}")
        for account, logs in self.accounts.items():
            self._check_outcomes(account, logs)
        self._check_pairs()
        received = [payment for logs in self.accounts.values() for _, payment in logs.received]
        self._compare("payments that the auditors noted", received, self.audited)
        sent = {payment for logs in self.accounts.values() for _, payment in logs.sent}
        self._tell("lost: chains that began", [payment for payment in self.begun if payment not in sent])
        return self._found

    def _check_outcomes(self, account: str, logs: AccountLogs) -> None:
        sent = [payment for _, payment in logs.sent]
        self._compare(f"outcomes of payments of {account}", sent, [payment for payment, _ in logs.ended])
        self._tell(f"payments of {account} without an outcome", logs.open)
        for payment, state in logs.ended:
            expected = "failed" if is_refused(payment) else "success"
            if state != expected:
                self._found.append(f"payment {payment} of {account} ended as {state} instead of {expected}")

    def _check_pairs(self) -> None:
        """Compare what each account sent to each other one with what took effect there, in order."""
        wanted: dict[tuple[str, str], list[str]] = {}
        found: dict[tuple[str, str], list[str]] = {}
        for account, logs in self.accounts.items():
            for receiver, payment in logs.sent:
                if not is_refused(payment):
                    wanted.setdefault((account, receiver), []).append(payment)
            for sender, payment in logs.received:
                found.setdefault((sender, account), []).append(payment)
        for pair in dict.fromkeys([*wanted, *found]):
            what = f"payments from {pair[0]} to {pair[1]}"
            expected, seen = wanted.get(pair, []), found.get(pair, [])
            if not self._compare(what, expected, seen):
                at = next((n for n, (one, other) in enumerate(zip_longest(expected, seen)) if one != other), None)
                if at is not None:
                    self._found.append(f"reordered: {what}: {seen[at]} took effect before {expected[at]}")

    def _compare(self, what: str, expected: Iterable[str], seen: Iterable[str]) -> bool:
        """Report what is missing, and what is present too often. Return True if something is."""
        wanted, found = Counter(expected), Counter(seen)
        too_many = found - wanted
        told = [
            self._tell(f"lost: {what}", (wanted - found).elements()),
            self._tell(f"doubled: {what}", (name for name in too_many.elements() if name in wanted)),
            self._tell(f"unexpected: {what}", (name for name in too_many.elements() if name not in wanted)),
        ]
        return any(told)

    def _tell(self, what: str, names: Iterable[str]) -> bool:
        listed = list(names)
        if listed:
            more = f" and {len(listed) - NAMES_SHOWN} more" if len(listed) > NAMES_SHOWN else ""
            self._found.append(f"{what}: {', '.join(listed[:NAMES_SHOWN])}{more}")
        return bool(listed)
