"""State machine of the ``goverse dev`` supervisor, without processes and clocks: events go in, actions come out.

At any time there is at most one *current* process, which serves, and one *candidate*, which has the newest code.

* A change starts a candidate. It imports the application while the current process keeps serving.
* A candidate that fails to import is reported and dropped; the current process keeps serving the old code.
* A candidate that has imported waits until the current process has drained and ended, then serves. A change during that
  wait does not replace the candidate, because the newer code may be broken. It is imported once the candidate serves.
* While nothing serves and only an edit can help, requests are answered with 503. Otherwise they wait.
* A process that dies is restarted after a growing pause. More than ``QUICK_DEATHS_MAX`` quick deaths in a row end the
  supervisor.
* A process whose ``@on_start`` function fails is dropped. Requests are answered with 503 until the next change.
* A process that cannot serve for another reason, such as damaged data, ends the supervisor.
* A first import that fails for a reason outside the application's code, such as a missing module, ends the supervisor.
  Later imports do not, because the application is being edited.
* The first stop signal drains, the second one kills.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

QUICK_DEATH_S: Final = 10.0
QUICK_DEATHS_MAX: Final = 4
PAUSE_S: Final = 0.2
PAUSE_S_MAX: Final = 5.0


class Phase(Enum):
    """Phase of a supervised process."""

    IMPORTING = auto()
    IMPORTED = auto()
    STARTING = auto()
    SERVING = auto()
    STOPPING = auto()
    ENDED = auto()


@dataclass(slots=True)
class Member:
    """One process under supervision."""

    number: int
    phase: Phase = Phase.IMPORTING
    since: float = 0.0
    outdated: bool = False  # a file changed after the import
    again: bool = False  # it replaces a process that died


# --- actions ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process, which imports the application."""

    number: int


@dataclass(frozen=True, slots=True)
class LetServe:
    """Request that a process serves; with ``announce``, the first one prints the banner."""

    number: int
    announce: bool


@dataclass(frozen=True, slots=True)
class LetStop:
    """Request that a process drains and exits; kill it if it does not."""

    number: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill a process immediately."""

    number: int


@dataclass(frozen=True, slots=True)
class TurnAway:
    """Answer requests with 503 until a process serves."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Call ``retry`` after this time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Say:
    """Log an event; ``details`` are the lines of a traceback."""

    level: str
    event: str
    details: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the supervisor with this exit code; a non-empty ``why`` is the error message of the command."""

    exit_code: int
    why: str = ""


Action = Start | LetServe | LetStop | Kill | TurnAway | Pause | Say | Finish
Actions = Iterator[Action]


class Supervision:
    """One run of ``goverse dev``."""

    def __init__(self) -> None:
        """Start without processes; :meth:`begin` starts the first one."""
        self._numbers = 0
        self._quick_deaths = 0
        self._current: Member | None = None
        self._candidate: Member | None = None
        self._exit_code: int | None = None
        self._why = ""
        self._tried = False  # an import has succeeded, or failed because of the application's own code
        self._announced = False

    # --- events -------------------------------------------------------------------------------------------------------

    def begin(self) -> Actions:
        """Start the first process."""
        yield from self._start()

    def changed(self, what: str) -> Actions:
        """Handle a change of a file of the application."""
        if self._exit_code is not None:
            return
        yield Say("info", f"{what} changed; importing the application again")
        self._quick_deaths = 0
        member = self._candidate
        if member is not None and member.phase is Phase.IMPORTED:
            member.outdated = True
            return
        if member is not None:
            yield Kill(member.number)
        yield from self._start()

    def retry(self) -> Actions:
        """Handle the end of a pause."""
        if self._exit_code is None and self._candidate is None and self._current is None:
            yield from self._start(again=True)

    def imported(self, number: int) -> Actions:
        """Handle a successful import."""
        member = self._candidate
        if member is None or member.number != number:
            return
        member.phase = Phase.IMPORTED
        self._tried = True
        if self._current is None:
            yield from self._promote()
        elif self._current.phase is not Phase.STOPPING:
            self._current.phase = Phase.STOPPING
            yield LetStop(self._current.number)

    def serving(self, number: int, now: float) -> Actions:
        """Handle a process that has started to serve."""
        member = self._current
        if member is None or member.number != number:
            return
        if member.phase is Phase.STARTING:
            member.phase, member.since = Phase.SERVING, now
        if self._announced:
            yield Say("info", "the application is served again" if member.again else "the application was reloaded")
        self._announced = True

    def failed(self, number: int, message: str, exit_code: int, *, by_application: bool = False) -> Actions:
        """Handle a process that reports that it cannot import or serve.

        If the application's own code is the cause, the supervisor waits for a change. Any other failure of the current
        process, or of the first import, ends the supervisor.
        """
        if self._candidate is not None and self._candidate.number == number:
            self._candidate = None
            if not by_application and not self._tried and self._exit_code is None:
                self._exit_code, self._why = exit_code, message
                return
            self._tried = True
            yield _waiting(message, "still serving the old code" if self._current is not None else "nothing is served")
            if self._current is None:
                yield TurnAway()
        elif self._current is not None and self._current.number == number:
            if by_application and self._exit_code is None:
                self._current = None
                yield _waiting(message, "nothing is served")
                if self._candidate is not None and self._candidate.phase is Phase.IMPORTED:
                    yield from self._promote()
                else:
                    yield TurnAway()
                return
            self._exit_code, self._why = exit_code, message
            if self._candidate is not None:
                yield Kill(self._candidate.number)

    def ended(self, number: int, how: str, now: float) -> Actions:
        """Handle the end of a process."""
        if self._candidate is not None and self._candidate.number == number:
            self._candidate = None
            if self._exit_code is None:
                yield Say("error", f"the process that imported the application {how}")
                if self._current is None:
                    yield from self._again(quick=True)
        if self._current is not None and self._current.number == number:
            gone, self._current = self._current, None
            if self._exit_code is None:
                yield from self._follow(gone, how, now)
        if self._exit_code is not None and self._current is None and self._candidate is None:
            yield Finish(self._exit_code, self._why)

    def told_to_stop(self) -> Actions:
        """Handle a stop signal: drain on the first one, kill on the second."""
        members = [member for member in (self._current, self._candidate) if member is not None]
        again, self._exit_code = self._exit_code is not None, 0 if self._exit_code is None else 1
        if not members:
            yield Finish(self._exit_code)
        how = ("warning", "stopping immediately") if again else ("info", "stopping after the running calls finish")
        yield Say(*how)
        for member in members:
            if again or member is self._candidate:
                yield Kill(member.number)
            elif member.phase is not Phase.STOPPING:
                member.phase = Phase.STOPPING
                yield LetStop(member.number)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _follow(self, gone: Member, how: str, now: float) -> Actions:
        """Replace the current process, which has ended."""
        if gone.phase is not Phase.STOPPING:
            yield Say("error", f"the server process {how}; starting it again")
        if self._candidate is None:
            yield from self._again(quick=gone.phase is not Phase.SERVING or now - gone.since < QUICK_DEATH_S)
        elif self._candidate.phase is Phase.IMPORTED:
            yield from self._promote()

    def _start(self, *, again: bool = False) -> Actions:
        self._numbers += 1
        self._candidate = Member(self._numbers, again=again)
        yield Start(self._numbers)

    def _promote(self) -> Actions:
        member, self._candidate = self._candidate, None
        if member is not None:
            member.phase = Phase.STARTING
            self._current = member
            yield LetServe(member.number, announce=not self._announced)
            if member.outdated:
                yield from self._start()

    def _again(self, *, quick: bool) -> Actions:
        self._quick_deaths = self._quick_deaths + 1 if quick else 1
        if self._quick_deaths > QUICK_DEATHS_MAX:
            yield Say("error", f"the server process died {self._quick_deaths} times in a row; giving up")
            self._exit_code = 1
            return
        yield Pause(min(PAUSE_S_MAX, PAUSE_S * 2 ** (self._quick_deaths - 1)))


def _waiting(message: str, rest: str) -> Say:
    """Return the log event of a failure that only a change can fix; lines after the first become its details."""
    first, _, details = message.partition("\n")
    return Say("error", f"{first.rstrip(':')}; {rest}; waiting for the next change", details)
