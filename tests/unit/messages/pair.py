"""A pair of objects over a link that delays, repeats, reorders and loses deliveries, in processes that restart.

The sender commits calls and keeps them until it has committed their outcome. The receiver commits receipts, together
with the effects. Everything else is forgotten by a restart. ``run`` plays one seed and returns the record of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from goverse.model.keys import ObjectKey
from goverse.model.receipts import WINDOW, Delivery, Receipt, Settlement, Verdict
from goverse_node.messages.channel import Channel, Pending, Void

FAR_MS = 10**9
SENDER = ObjectKey("default", "Sender", "s")


@dataclass
class Rules:
    """The rules of the product, each of which a test can break."""

    checks_order: bool = True
    receipt_with_effect: bool = True
    void_at_receiver: bool = True
    keeps_outcomes: bool = True


@dataclass
class Record:
    """The course of events: the calls that took effect, in order, and the outcome of each call at the sender."""

    effects: list[int] = field(default_factory=list[int])
    outcomes: dict[int, str] = field(default_factory=dict[int, str])
    sent: list[int] = field(default_factory=list[int])


class Receiver:
    def __init__(self, rules: Rules, record: Record, chance: Random) -> None:
        self.rules, self.record, self.chance = rules, record, chance
        self.durable = Receipt()
        self.present = self.durable

    def restart(self) -> None:
        self.present = self.durable

    def handle(self, delivery: Delivery) -> str:
        """Return the answer: ``done``, ``void``, ``failed``, ``never``, ``refused`` or ``early``."""
        if self.chance.random() < 0.1:
            return "refused"
        verdict = self.present.judge(delivery)
        if verdict is Verdict.OUT_OF_ORDER and not self.rules.checks_order:
            verdict = Verdict.NEXT
        if verdict is Verdict.DUPLICATE:
            kept = self.present.outcome_of(delivery) if self.rules.keeps_outcomes else None
            return (kept or b"done").decode()
        if verdict is Verdict.OUT_OF_ORDER:
            return "early"
        if not delivery.void and self.chance.random() < 0.25:
            return "failed" if self.chance.random() < 0.9 else "never"
        outcome = "void" if delivery.void else "done"
        if not delivery.void:
            self.record.effects.append(delivery.number)
        outcomes = {n: o for n, o in self.present.outcomes.items() if n >= delivery.head}
        outcomes[delivery.number] = outcome.encode()
        if verdict is self.present.judge(delivery):
            assert self.present.settled(Settlement(delivery, outcome.encode())).outcomes == outcomes
        self.present = Receipt(delivery.number, outcomes)
        if self.rules.receipt_with_effect or self.chance.random() < 0.5:
            self.durable = self.present
        return outcome


class Pair:
    def __init__(self, seed: int, rules: Rules) -> None:
        self.chance = Random(seed)
        self.rules, self.record = rules, Record()
        self.receiver = Receiver(rules, self.record, self.chance)
        self.channel = Channel(SENDER)
        self.durable: dict[int, Pending] = {}
        self.link: list[Delivery] = []
        self.answers: list[tuple[Delivery, str]] = []
        self.uncommitted: dict[int, str] = {}
        self.now = self.number = 0

    def send(self) -> None:
        self.number += self.chance.choice((1, 2, 50))
        expires = self.now + self.chance.choice((5, 40, FAR_MS))
        attempts, holds = self.chance.choice(((2, False), (50, False), (3, True)))
        self.durable[self.number] = Pending(self.number, expires, attempts_max=attempts, holds=holds)
        self.record.sent.append(self.number)
        self.channel.append(self.durable[self.number])

    def deliver(self) -> None:
        self.link += self.channel.due(self.now, self.chance.choice((1, 3, WINDOW)))

    def arrive(self) -> None:
        """One delivery arrives; it may arrive again later."""
        if not self.link:
            return
        place = self.chance.randrange(len(self.link))
        delivery = self.link[place] if self.chance.random() < 0.1 else self.link.pop(place)
        answer = self.receiver.handle(delivery)
        if not self.rules.void_at_receiver and delivery.void:
            answer = "void"
        self.answers.append((delivery, answer))

    def answer(self) -> None:
        """One answer reaches the sender."""
        if not self.answers:
            return
        delivery, answer = self.answers.pop(self.chance.randrange(len(self.answers)))
        if answer in ("done", "void"):
            self.settle(delivery.number, answer)
        elif answer == "failed":
            self.channel.failed(delivery, self.now + self.chance.randrange(5))
        elif answer == "never":
            self.channel.rejected(delivery)
        else:
            self.channel.refused(delivery, self.now + self.chance.randrange(5))

    def settle(self, number: int, answer: str) -> None:
        if self.channel.settle(number) is not None:
            self.uncommitted[number] = answer

    def commit(self) -> None:
        """The sender commits the outcomes that it knows, in order."""
        for call in self.channel.front():
            self.record.outcomes[call.number] = self.uncommitted.pop(call.number)
            del self.durable[call.number]
            self.channel.remove(call.number)

    def lose(self) -> None:
        """The link breaks: what is on its way arrives later or never, and its answers never."""
        self.link = [each for each in self.link if self.chance.random() < 0.5]
        self.answers.clear()
        self.channel.lost()

    def restart_sender(self) -> None:
        self.link = [each for each in self.link if self.chance.random() < 0.5]
        self.answers.clear()
        self.uncommitted.clear()
        self.channel = Channel(SENDER)
        for number, old in sorted(self.durable.items()):
            self.durable[number] = Pending(
                number, old.expires_ms, old.attempts_max, old.attempts, void=old.void, holds=old.holds
            )
            self.channel.append(self.durable[number])

    def give_up(self) -> None:
        if self.durable:
            self.channel.give_up(self.chance.choice(list(self.durable)), Void.CANCELLED)

    def pause(self) -> None:
        self.channel.paused = not self.channel.paused

    def operate(self) -> None:
        """An operator retries a call that is held, or skips it."""
        held = [call for call in self.channel if call.held]
        for call in held:
            if self.chance.random() < 0.5:
                assert self.channel.retry(call.number)
            else:
                assert self.channel.give_up(call.number, Void.SKIPPED)

    def step(self) -> None:
        self.now += self.chance.randrange(3)
        kinds = [self.send, self.deliver, self.arrive, self.answer, self.commit]
        rare = [self.lose, self.restart_sender, self.receiver.restart, self.give_up, self.pause, self.operate]
        weights = [2, 6, 8, 8, 2, 0.2, 0.2, 0.2, 0.3, 0.1, 0.3]
        self.chance.choices([*kinds, *rare], weights)[0]()

    def drain(self) -> None:
        """End all faults and let everything arrive."""
        self.channel.paused = False
        for _ in range(20_000):
            if not len(self.channel):
                return
            self.now += 3
            self.operate()
            self.deliver()
            self.arrive()
            self.answer()
            self.commit()
        raise AssertionError(f"{len(self.channel)} calls were never settled")


def run(seed: int, rules: Rules | None = None, steps: int = 400) -> Record:
    """Play one seed to its end."""
    pair = Pair(seed, rules or Rules())
    for _ in range(steps):
        pair.step()
    pair.drain()
    return pair.record


def check(record: Record) -> None:
    """Check what a pair promises: each call has one outcome, effects are in order, and outcomes tell the truth."""
    assert record.effects == sorted(set(record.effects)), "an effect was repeated, or out of order"
    assert sorted(record.outcomes) == record.sent, "a call has no outcome"
    ran = {number for number, outcome in record.outcomes.items() if outcome == "done"}
    assert ran == set(record.effects), "an outcome says other than what happened"
