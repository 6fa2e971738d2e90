"""The rules of the supervisor, without processes and clocks: what happened comes in, what to do goes out.

At any time there is at most one *current* process, which serves, and one *candidate*, which has the newest code:

* A change starts a candidate. It imports the application while the current process goes on serving.
* A candidate that cannot import is reported and dropped; the current process goes on with the old code.
* A candidate that can import waits until the current process has drained and ended, then serves. A change meanwhile
  does not take its turn away, since what changed may be broken: it is imported once the candidate is told to serve.
* Where nothing serves and only an edit can help, requests are turned away; else they wait.
* A process that dies unasked is started anew, after a pause that grows; ``QUICK_DEATHS_MAX`` quick deaths in a
  row end the supervisor.
* A process whose ``@on_start`` function fails is dropped. Requests are turned away until the next change.
* A process that cannot begin to serve for another reason, such as damaged data, ends the supervisor.
* A first import that fails for another reason than the application's own code, such as a module that does not exist,
  ends the supervisor as well. Later ones do not: the application is being edited.
* The first signal drains, the second one kills.
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
    """How far a process has come."""

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
    outdated: bool = False  # a file changed since it was imported
    again: bool = False  # it takes the place of one that died


# --- what to do -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Start:
    """Start a process; it imports."""

    number: int


@dataclass(frozen=True, slots=True)
class LetServe:
    """Tell a process to serve; ``announce`` where nothing was served before, so that it says where it is."""

    number: int
    announce: bool


@dataclass(frozen=True, slots=True)
class LetStop:
    """Tell a process to drain and end; kill it if it does not."""

    number: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End a process at once."""

    number: int


@dataclass(frozen=True, slots=True)
class TurnAway:
    """Answer requests that nothing can serve them, until a process is let serve."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Call ``retry`` after this time."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Say:
    """Tell people; ``details`` are the lines of a traceback."""

    level: str
    event: str
    details: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is left to do; end with this code, and with ``why`` as the command's error if there is one."""

    exit_code: int
    why: str = ""


Action = Start | LetServe | LetStop | Kill | TurnAway | Pause | Say | Finish
Actions = Iterator[Action]


class Supervision:
    """One run of ``goverse dev``."""

    def __init__(self) -> None:
        """Begin with nothing; :meth:`begin` starts the first process."""
        self._numbers = 0
        self._quick_deaths = 0
        self._current: Member | None = None
        self._candidate: Member | None = None
        self._exit_code: int | None = None
        self._why = ""
        self._tried = False  # an import has succeeded, or failed because of the application's own code
        self._announced = False

    # --- what happened ------------------------------------------------------------------------------------------------

    def begin(self) -> Actions:
        """Start the first process."""
        yield from self._start()

    def changed(self, what: str) -> Actions:
        """A file of the application changed."""
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
        """The pause is over."""
        if self._exit_code is None and self._candidate is None and self._current is None:
            yield from self._start(again=True)

    def imported(self, number: int) -> Actions:
        """A process has imported the application."""
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
        """A process serves."""
        member = self._current
        if member is None or member.number != number:
            return
        if member.phase is Phase.STARTING:
            member.phase, member.since = Phase.SERVING, now
        if self._announced:
            yield Say("info", "the application is served again" if member.again else "the application was reloaded")
        self._announced = True

    def failed(self, number: int, message: str, exit_code: int, *, by_application: bool = False) -> Actions:
        """Handle a process that ends because it cannot import or serve.

        A process that served nothing yet because of the application's own code leaves the supervisor waiting for a
        change. Any other failure of the current process, or of the first import, ends the supervisor.
        """
        if self._candidate is not None and self._candidate.number == number:
            self._candidate = None
            if not by_application and not self._tried and self._exit_code is None:
                self._exit_code, self._why = exit_code, message
                return
            self._tried = True
            yield _waiting(
                message, "the old code goes on serving" if self._current is not None else "nothing is served"
            )
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
        """A process is gone."""
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
        """A signal came: drain the first time, kill the second."""
        members = [member for member in (self._current, self._candidate) if member is not None]
        again, self._exit_code = self._exit_code is not None, 0 if self._exit_code is None else 1
        if not members:
            yield Finish(self._exit_code)
        how = ("warning", "stopping at once") if again else ("info", "stopping when the calls that run are done")
        yield Say(*how)
        for member in members:
            if again or member is self._candidate:
                yield Kill(member.number)
            elif member.phase is not Phase.STOPPING:
                member.phase = Phase.STOPPING
                yield LetStop(member.number)

    # --- steps --------------------------------------------------------------------------------------------------------

    def _follow(self, gone: Member, how: str, now: float) -> Actions:
        """Go on after the current process."""
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
            yield Say("error", f"it died {self._quick_deaths} times in a row; giving up")
            self._exit_code = 1
            return
        yield Pause(min(PAUSE_S_MAX, PAUSE_S * 2 ** (self._quick_deaths - 1)))


def _waiting(message: str, rest: str) -> Say:
    """Return what is said while only a change can help; all but the first line of the message are details."""
    first, _, details = message.partition("\n")
    return Say("error", f"{first.rstrip(':')}; {rest}; waiting for the next change", details)
