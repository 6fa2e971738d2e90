"""A walk through a page in a folder: it runs each step as a reader would, and stops at the first difference."""

import os
import re
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.docs.document import Command, Mode, Step, read_document
from tests.docs.expectation import has_appeared, matches
from tests.docs.terminal import Terminal, TerminalError

# A first `make` on a fresh machine installs an environment.
COMMAND_TIMEOUT_S = 300.0

# Variables that the surrounding test run sets and a reader's terminal does not have.
FOREIGN_VARIABLES = re.compile(r"(MAKE\w*|MFLAGS|PYTHONPATH|VIRTUAL_ENV|(COVERAGE|GOVERSE|PYTEST)_\w+)")


class WalkthroughError(AssertionError):
    """A difference between the page and the machine."""


def walk_through(
    page: Path,
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    adapt: Callable[[str], str] = lambda text: text,
    timeout_s: float = COMMAND_TIMEOUT_S,
) -> list[Step]:
    """Run every step of the page in `folder`.

    `adapt` rewrites commands, saved files and shown output, for example to replace a port. Returns the steps, so that
    the caller can find those that were skipped.
    """
    steps = read_document(page)
    # curl writes a progress meter if its output is a pipe; a reader's terminal shows none.
    (folder / ".curlrc").write_text("no-progress-meter\n", encoding="utf-8")
    inherited = {name: value for name, value in os.environ.items() if not FOREIGN_VARIABLES.fullmatch(name)}
    environment = {**inherited, **(env or {}), "CURL_HOME": str(folder), "NO_COLOR": "1"}
    with Terminal(folder, environment) as terminal:
        walk = _Walk(page.name, folder, terminal, adapt, timeout_s)
        for step in steps:
            walk.take(step)
    return steps


class _Walk:
    def __init__(
        self, name: str, folder: Path, terminal: Terminal, adapt: Callable[[str], str], timeout_s: float
    ) -> None:
        self._name = name
        self._folder = folder
        self._terminal = terminal
        self._adapt = adapt
        self._timeout_s = timeout_s

    def take(self, step: Step) -> None:
        try:
            self._take(step)
        except TerminalError as error:
            raise WalkthroughError(f"{self._name}:{step.line}: {error}") from error

    def _take(self, step: Step) -> None:
        match step.mode:
            case Mode.RUN:
                for command in step.commands:
                    self._run(command, 0)
            case Mode.EXIT:
                self._run(step.commands[0], int(step.argument))
            case Mode.BACKGROUND:
                self._start(step.commands[0])
            case Mode.FILE:
                self._save(step)
            case Mode.INTERRUPT:
                self._terminal.stop_newest(signal.SIGINT)
            case Mode.KILL:
                self._terminal.stop_newest(signal.SIGKILL)
            case Mode.SKIP:
                pass

    def _run(self, command: Command, expected_status: int) -> None:
        status, printed = self._terminal.run(self._adapt(command.text), self._timeout_s)
        place = f"{self._name}:{command.line}: `{command.text}`"
        if status != expected_status:
            raise WalkthroughError(f"{place} exited with {status}, not {expected_status}; it printed:\n{printed}")
        expected = self._expected(command)
        if any(expected) and not matches(expected, printed):
            shown = "\n".join(expected)
            raise WalkthroughError(f"{place}\nthe page shows:\n{shown}\nit printed:\n{printed}")

    def _start(self, command: Command) -> None:
        expected = self._expected(command)
        self._terminal.start(self._adapt(command.text), lambda text: has_appeared(expected, text), self._timeout_s)

    def _save(self, step: Step) -> None:
        target = (self._folder / step.argument).resolve()
        if not target.is_relative_to(self._folder.resolve()):
            raise WalkthroughError(f"{self._name}:{step.line}: {step.argument} is outside the reader's folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(self._adapt(step.content), encoding="utf-8")

    def _expected(self, command: Command) -> list[str]:
        return [self._adapt(line) for line in command.output]
