"""Calls that may have ended a node: which calls are suspected, how they are distinguished, and when one is given up.

Code of the application runs inside the node, so a call can end the process (``os._exit``, a fault in an extension, all
memory used up). Nothing of that attempt is left: without a trace it would end the next node as well, and so on.

**Suspects.** A call is suspected if it may have been running when a process ended:

* Its delivery was lost with the receiver's node, and that process has ended (``Answer.ENDED``). A broken connection to
  a process that lives makes no suspect.
* Its outbox was read, and the process that served the shard before is not known to have ended in an orderly way
  (``Shard.interrupted``). The outbox does not say which calls were on their way, so the first ``WINDOW`` calls of each
  pair are suspected. The rest of the pending calls waits until they have been tried, so that it cannot end the node
  during a trial; but for ``BEHIND_MS`` at most, because a suspect can be impossible to try, e.g. if no node knows its
  receiver's type yet.

**Trials.** A suspect is delivered alone: one at a time of this node, and one at a time on the receiver's node
(``goverse_node.runtime.alone``). Before it runs, a mark in the outbox says so. An answer acquits it, whatever it says.
A call with ``then`` is on trial until the record of ``then`` has removed it.

**The verdict** needs three trials without an answer: each time the process ended, or an outbox with the mark was read
after an unclean end. One such trial proves nothing: a plain call, the trial of another node whose receiver is here, or
an operator can end a process as well, and a call that ran beside it is innocent. That the same call runs each of three
times is no accident. The call becomes void with the reason ``crashed``, and a dead letter with the problem
``suspected_crash``. Its receiver decides, as for every void call: an outcome that is durable counts.

The marks of a call (``Mark.attempts``):

| mark | meaning | when it is read |
| --- | --- | --- |
| 0 | nothing, or acquitted | suspected after an unclean end |
| 1 | suspected | suspected |
| 2, 3 | on its first, second trial | suspected; after an orderly end the trial does not count |
| 4 | on its third trial | guilty after an unclean end, otherwise as above |

Without an unclean end nothing of this costs anything: no mark is committed, and no delivery waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Final, Protocol

from goverse.errors import GoverseError, SuspectedCrash
from goverse.model.effects import Effects, Mark
from goverse.model.frames import Problem, Reply
from goverse.model.keys import ObjectKey
from goverse.model.receipts import WINDOW, Delivery
from goverse_node.messages.alarm import Alarm
from goverse_node.messages.answers import Answer
from goverse_node.messages.backoff import Backoff
from goverse_node.messages.channel import Pending, Void
from goverse_node.messages.commits import Commits, MessagesHost
from goverse_node.messages.outboxes import Entry, Outboxes, Pair
from goverse_node.runtime.alone import GRANTED

SUSPECTED: Final = 1
ON_TRIAL: Final = 2
LAST_TRIAL: Final = 4

SUSPECTS_MAX: Final = 10_000
"""Calls that are tried one by one after an unclean end. A trial takes two commits, so these take about a minute. Calls
are delivered in the order of their numbers after a start, so later ones were hardly on their way."""

BEHIND_MS: Final = 60_000
"""The time for which the calls behind the suspects wait at most."""

_MARKS_MAX: Final = 1_000  # per record, so that it stays small
_RETRY: Final = Backoff(50, 2_000)
"""Waits before a suspect asks again for the place on its receiver's node, and before a mark is committed again."""


class Delivers(Protocol):
    """The part of ``Deliveries`` that the quarantine uses."""

    def serve(self, pair: Pair) -> None:
        """Deliver what a pair has to deliver now."""
        ...

    def serve_at(self, pair: Pair, at_ms: int) -> None:
        """Do that at a time."""
        ...

    def start_alone(self, pair: Pair, delivery: Delivery) -> None:
        """Start the delivery of a suspect."""
        ...


class Quarantine:
    """The suspects of a node.

    Attributes:
        deliveries: delivers the suspects; set before the first call is added.
        convicted: the number of calls that were given up, since the start.
    """

    deliveries: Delivers

    def __init__(self, host: MessagesHost, outboxes: Outboxes, alarm: Alarm, commits: Commits) -> None:
        """Suspect nothing."""
        self._host = host
        self._outboxes = outboxes
        self._alarm = alarm
        self._commits = commits
        self._suspects: dict[int, Entry] = {}
        self._behind: dict[int, Entry] = {}
        self._unmarked: list[Entry] = []
        self._queue: dict[Pair, None] = {}
        self._trial: Entry | None = None
        self._marked = False
        self.convicted = 0

    def __len__(self) -> int:
        """Return the number of suspects."""
        return len(self._suspects) + len(self._behind)

    # --- suspects -----------------------------------------------------------------------------------------------------

    def read(self, entry: Entry, *, interrupted: bool) -> None:
        """Judge a call that was read from the store.

        ``interrupted`` says that the last process that served its shard is not known to have had an orderly end.
        """
        if entry.place.void is Void.CRASHED:
            self.sentence(entry)
            return
        if entry.pair.delayed or entry.place.void is not None:
            return
        if entry.crashes:
            self._suspect(entry)
            if not interrupted:
                entry.crashes = max(SUSPECTED, entry.crashes - 1)  # its trial did not end that process
            elif entry.crashes >= LAST_TRIAL:
                self._convict(entry)
        elif interrupted and (len(entry.pair.channel) > WINDOW or len(self._suspects) >= SUSPECTS_MAX):
            if not self._behind:
                self._alarm.set(self._alarm.now_ms() + BEHIND_MS, self._release)
            self._behind[entry.number] = entry
            entry.place.suspected = entry.pair.suspected = True
        elif interrupted:
            self.suspect(entry)

    def suspect(self, entry: Entry) -> None:
        """Suspect a call that may have been running when a process ended, and keep that in the outbox."""
        if entry.place.suspected or entry.place.void is not None:
            return
        self._suspect(entry)
        if entry.crashes < SUSPECTED:
            entry.crashes = SUSPECTED
            if not self._unmarked:
                asyncio.get_running_loop().call_soon(self._mark_suspects)
            self._unmarked.append(entry)

    def _suspect(self, entry: Entry) -> None:
        entry.place.suspected = entry.pair.suspected = True
        self._suspects[entry.number] = entry

    def _mark_suspects(self) -> None:
        entries, self._unmarked = self._unmarked, []
        by_sender: dict[ObjectKey, list[Entry]] = {}
        for entry in entries:
            if not entry.pair.closed and entry.crashes == SUSPECTED:
                by_sender.setdefault(entry.pair.sender, []).append(entry)
        for group in by_sender.values():
            for start in range(0, len(group), _MARKS_MAX):
                self._commit_marks(group[start : start + _MARKS_MAX])

    def _commit_marks(self, entries: Sequence[Entry]) -> None:
        """Keep the suspicion for a next owner. If the commit fails, an unclean end would raise it again."""
        marks = tuple(Mark(entry.number, SUSPECTED) for entry in entries)
        pair = entries[0].pair
        self._commits.commit(pair.sender, pair.shard, Effects(marks=marks), lambda _: None)

    # --- trials -------------------------------------------------------------------------------------------------------

    def ready(self, pair: Pair, now_ms: int) -> None:
        """Take note that a pair is served: if a suspect is its next call, try that when it is its turn."""
        call = pair.channel.suspect()
        if call is None or call.number in self._behind:
            return
        if call.not_before_ms > now_ms:
            self.deliveries.serve_at(pair, call.not_before_ms)
            return
        self._queue[pair] = None
        self._proceed()

    def closed(self) -> None:
        """Forget the suspects of shards that this node no longer serves."""
        for kept in (self._suspects, self._behind):
            for number in [number for number, entry in kept.items() if entry.pair.closed]:
                del kept[number]
        if self._trial is not None and self._trial.pair.closed:
            self._over(self._trial)

    def _proceed(self) -> None:
        while self._trial is None and self._queue:
            pair = next(iter(self._queue))
            del self._queue[pair]
            call = pair.channel.suspect()
            if pair.closed or call is None or call.not_before_ms > self._alarm.now_ms():
                self.deliveries.serve(pair)  # it comes back when the call can be delivered
                continue
            self._trial, self._marked = self._outboxes.entries[call.number], False
            self._deliver(pair, call)

    def _deliver(self, pair: Pair, call: Pending) -> None:
        self.deliveries.start_alone(pair, pair.channel.alone(call, self._host.clock.wall_ms()))

    def answered(self, entry: Entry, delivery: Delivery, reply: Reply, meaning: Answer) -> bool:
        """Take note of the answer to the delivery of a suspect. Return False if it is to be handled as any other."""
        if entry is not self._trial:
            return False
        problem = reply.problem
        asks = problem is not None and problem.code == "try_again" and problem.status is None
        if asks or (meaning is Answer.FAILED and not self._marked):
            self._answered_place(entry, delivery, granted=problem is not None and GRANTED in problem.extra)
            return True
        if meaning is Answer.SETTLED:
            if not entry.call.then or entry.place.void is not None:
                self._acquit(entry)
        elif meaning is Answer.LOST:
            self._over(entry)
        elif meaning is Answer.ENDED:
            self._ended(entry)
        elif meaning is Answer.REFUSED:
            if self._marked:  # it did not run after all
                self._unmark(entry, SUSPECTED)
            self._over(entry)
        else:
            self._unmark(entry, 0)
            self._acquit(entry)
        return False

    def _answered_place(self, entry: Entry, delivery: Delivery, *, granted: bool) -> None:
        """Take note of the answer to a question for the place on the receiver's node."""
        pair, place = entry.pair, entry.place
        wait_ms = 0 if granted and not self._marked else self._wait_ms(place.refusals + 1)
        if pair.channel.refused(delivery, self._alarm.now_ms() + wait_ms) is None:
            return
        if granted and entry.on_trial and not self._marked:  # its earlier trial is over, and that process lives
            self._unmark(entry, 0)
            self._acquit(entry)
        elif not granted or self._marked:
            self._over(entry)
        else:
            self._mark(entry)

    def _mark(self, entry: Entry) -> None:
        """Note in the outbox that the call is about to run."""
        pair, crashes = entry.pair, min(LAST_TRIAL, max(ON_TRIAL, entry.crashes + 1))
        effects = Effects(marks=(Mark(entry.number, crashes),))
        self._commits.commit(pair.sender, pair.shard, effects, partial(self._noted, entry, crashes))

    def _noted(self, entry: Entry, crashes: int, error: GoverseError | None) -> None:
        """Run the suspect, unless its outcome is known and only its ``then`` has to run."""
        if self._trial is not entry:
            return
        place = entry.place
        if error is None:
            entry.crashes, entry.on_trial, self._marked = crashes, True, True
            if place.settled:
                return  # ``may_conclude`` is asked again
            if entry.pair.channel.suspect() is place:
                self._deliver(entry.pair, place)
                return
            self._unmark(entry, SUSPECTED)  # an operator or its sender ended, held or paused it meanwhile
        elif not place.settled:
            place.not_before_ms = self._alarm.now_ms() + self._wait_ms(1)
        self._over(entry)

    def _wait_ms(self, attempts: int) -> int:
        return _RETRY.wait_ms(attempts, self._host.entropy)

    def _over(self, entry: Entry) -> None:
        """End the trial. Unless it was acquitted the call remains a suspect, and another one is tried first."""
        self._trial = None
        self._host.alone.leave((entry.pair.sender, entry.number))
        if not entry.pair.closed:
            self.deliveries.serve(entry.pair)
        asyncio.get_running_loop().call_soon(self._proceed)

    # --- verdicts -----------------------------------------------------------------------------------------------------

    def _acquit(self, entry: Entry) -> None:
        """Take note that the call runs without ending its node."""
        entry.place.suspected = entry.on_trial = False
        self._suspects.pop(entry.number, None)
        self._over(entry)
        if not self._suspects:
            self._release()

    def _release(self) -> None:
        """Deliver what waited for the trials."""
        behind, self._behind = self._behind, {}
        for entry in behind.values():
            entry.place.suspected = False
            if not entry.pair.closed:
                self.deliveries.serve(entry.pair)

    def _unmark(self, entry: Entry, mark: int) -> None:
        """Take the mark of the trial back."""
        entry.on_trial = False
        if entry.crashes != mark:
            entry.crashes = mark
            effects = Effects(marks=(Mark(entry.number, mark),))
            self._commits.commit(entry.pair.sender, entry.pair.shard, effects, lambda _: None)

    def _ended(self, entry: Entry) -> None:
        """Take note that the process with which the trial was lost has ended."""
        entry.on_trial = False
        self._over(entry)
        if entry.crashes >= LAST_TRIAL:
            self._convict(entry)

    def _convict(self, entry: Entry) -> None:
        """Give the call up, or hold it. It is not delivered until the mark that says so is durable."""
        entry.place.held = True
        mark = Mark(entry.number, entry.crashes, Void.CRASHED.value)
        effects = Effects(marks=(mark,))
        self._commits.commit(entry.pair.sender, entry.pair.shard, effects, partial(self._convicted, entry))

    def _convicted(self, entry: Entry, error: GoverseError | None) -> None:
        if error is None:
            self.convicted += 1
        elif not entry.pair.closed:
            self._alarm.set(self._alarm.now_ms() + self._wait_ms(4), partial(self._convict, entry))

    def sentence(self, entry: Entry) -> None:
        """Apply the mark of a call that was given up: it becomes void, or is held."""
        entry.problem = crashed(entry)
        if entry.place.holds:
            entry.place.void = None
            entry.place.held = entry.place.suspected = entry.pair.suspected = True
        elif entry.pair.channel.give_up(entry.number, Void.CRASHED):
            self.deliveries.serve(entry.pair)

    # --- then ---------------------------------------------------------------------------------------------------------

    def may_conclude(self, entry: Entry) -> bool:
        """Return True if the ``then`` of a call may run now. That of a suspect needs the mark and this node's place."""
        if entry is not self._trial:
            return True
        if not self._marked:
            if not entry.on_trial:
                entry.on_trial = True  # once
                self._mark(entry)
            return False
        return self._host.alone.take((entry.pair.sender, entry.number), self._host.now())

    def concluded(self, entry: Entry) -> None:
        """Take note that the ``then`` of a suspect failed, so it does not end its node."""
        if entry is self._trial:
            self._unmark(entry, 0)
            self._acquit(entry)

    def removed(self, entry: Entry) -> None:
        """Take note that a call has left its outbox."""
        if entry.place.suspected:
            self._suspects.pop(entry.number, None)
            self._behind.pop(entry.number, None)
            if entry is self._trial:
                self._acquit(entry)
            elif not self._suspects:
                self._release()

    def suspects(self) -> Iterator[Entry]:
        """Iterate over the suspects."""
        return iter(self._suspects.values())


def crashed(entry: Entry) -> Problem:
    """Return the problem of a call that was given up because nodes ended while it ran."""
    return Problem.of(
        SuspectedCrash(
            f"a node ended each time that {entry.call.method} of {entry.call.receiver} ran for this call, also when no "
            "other suspected call ran; correct the method, then send the call again"
        )
    )
