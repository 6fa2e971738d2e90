"""Object types of the bank: accounts that pay each other with reliable calls, and auditors that count the payments.

A chain is a sum that passes through several accounts. Each step is a payment, named after its chain. Every object logs
by name, in order: what it sent, what took effect, and how its calls ended. ``bank_books`` compares the logs.

Some payments are refused by their receivers, some attempts fail, and some calls go to an object that always fails.
"""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta
from hashlib import blake2b

from goverse import BusinessError, Object, Outcome, call, handler

CENTS = 1_000
CHAINS_PER_AUDITOR = 100
FAILING = 0.02
TRAPPING = 0.02
TRAP_BACKOFF = (timedelta(milliseconds=10), timedelta(milliseconds=200))
SLOW_TURN_S = 0.02


def share_of(payment: str) -> float:
    """Return a number from 0 to 1 that depends on the name of the payment only."""
    return blake2b(payment.encode(), digest_size=1).digest()[0] / 256


def is_refused(payment: str) -> bool:
    """Return True if the receiver refuses the payment; its sender then gets the money back."""
    return share_of(payment) < 0.1


class Refused(BusinessError):
    """The account does not take the payment."""

    status = 409
    code = "refused"


class Account(Object):
    """An account with its logs.

    Attributes:
        open: the amount of each payment whose outcome is not known.
        sent: receiver and name of each payment, in the order of sending.
        received: sender and name of each payment that took effect, in order.
        ended: name and state of each payment whose outcome arrived, in order.
    """

    cents: int = CENTS
    open: dict[str, int] = {}
    sent: list[tuple[str, str]] = []
    received: list[tuple[str, str]] = []
    ended: list[tuple[str, str]] = []

    @call
    async def begin(self, chain: int, through: list[str], cents: int) -> bool:
        """Pay to the first of several accounts, each of which pays to the next one. Return False without the money."""
        if cents > self.cents:
            return False
        self._pay(chain, through, cents)
        return True

    def _pay(self, chain: int, through: list[str], cents: int) -> None:
        receiver, *rest = through
        payment = f"{chain}.{len(through)}"
        self.cents -= cents
        self.open[payment] = cents
        self.sent.append((receiver, payment))
        deposit = self.ref(Account, receiver).deposit
        self.sending(then=self.paid, id=payment)(
            deposit, payment=payment, sender=self.id, cents=cents, chain=chain, through=rest
        )
        if random.random() < TRAPPING:
            bank = self.id.rpartition("-")[0]
            self.sending(attempts=3, backoff=TRAP_BACKOFF, on_failure="drop")(self.ref(Trap, f"{bank}-trap").fall)

    @handler(raises=(Refused,))
    async def deposit(self, payment: str, sender: str, cents: int, chain: int, through: list[str]) -> int:
        """Take a payment, tell the auditor, and pay to the next account of the chain."""
        if is_refused(payment):
            raise Refused
        self.cents += cents
        self.received.append((sender, payment))
        if share_of(payment) > 0.9:
            await asyncio.sleep(SLOW_TURN_S)
        if random.random() < FAILING:
            raise RuntimeError("this attempt fails")
        bank = self.id.rpartition("-")[0]
        self.send(self.ref(Auditor, f"{bank}-audit{chain // CHAINS_PER_AUDITOR}").note, payment=payment)
        if through:
            self._pay(chain, through, cents)
        return self.cents

    @handler
    async def paid(self, outcome: Outcome[int]) -> None:
        """Log the end of a payment, and take the money back if it had no effect."""
        self.ended.append((outcome.id, outcome.state))
        cents = self.open.pop(outcome.id, 0)
        if not outcome.ok:
            self.cents += cents

    @call(readonly=True)
    async def logs(self) -> tuple[int, list[str], list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]]]:
        """Return the balance, the open payments, and the logs ``sent``, ``received`` and ``ended``."""
        return self.cents, list(self.open), self.sent, self.received, self.ended


class Auditor(Object):
    """Counts the payments of some chains."""

    noted: list[str] = []

    @handler
    async def note(self, payment: str) -> None:
        """Note a payment that took effect."""
        self.noted.append(payment)

    @call(readonly=True)
    async def logs(self) -> list[str]:
        """Return the payments that were noted."""
        return self.noted


class Trap(Object):
    """An object whose only method always fails."""

    @handler
    async def fall(self) -> None:
        """Fail."""
        raise RuntimeError("every attempt fails")
