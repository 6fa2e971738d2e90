"""The two terminals of a reader: one shell for commands, and processes that keep running beside it.

The shell is one bash for the whole page, so `cd`, `export` and an activated environment last. Every wait has
a bound; whatever was started is stopped at the end, with everything that it started.
"""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Self
from uuid import uuid4


class TerminalError(Exception):
    """A command that did not end, or a background that ended or stayed silent, with what was printed."""


class _Output:
    """What a process has printed so far, read without blocking."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)
        self._bytes = b""
        self.ended = False

    @property
    def text(self) -> str:
        return self._bytes.decode("utf-8", errors="replace")

    def read_until(self, satisfied: Callable[[str], bool], deadline: float) -> bool:
        """Read until the text satisfies, the process ends its output, or the deadline passes."""
        while not satisfied(self.text):
            remaining = deadline - time.monotonic()
            if self.ended or remaining <= 0:
                return False
            if self._selector.select(remaining):
                chunk = os.read(self._pipe.fileno(), 65536)
                self._bytes += chunk
                self.ended = not chunk
        return True

    def close(self) -> None:
        self._selector.close()
        self._pipe.close()


class Background:
    """A process that runs beside the shell, in a process group of its own."""

    def __init__(self, script: str, folder: Path, env: Mapping[str, str]) -> None:
        self._process = _start(["bash", "--noprofile", "--norc", "-c", script], folder, env, subprocess.DEVNULL)
        assert self._process.stdout is not None
        self._output = _Output(self._process.stdout)

    def wait_for(self, satisfied: Callable[[str], bool], timeout_s: float) -> None:
        if not self._output.read_until(satisfied, time.monotonic() + timeout_s):
            state = "ended" if self._output.ended else f"was not ready after {timeout_s} s"
            raise TerminalError(f"the background process {state}; it printed:\n{self._output.text}")

    def stop(self, number: signal.Signals, timeout_s: float = 30.0) -> None:
        """Send the signal to the whole group and wait for its end; kill what does not listen."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        # The pipe ends when the last process of the group has closed it, not only the first one.
        self._output.read_until(lambda _: False, time.monotonic() + timeout_s)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


class Terminal:
    """The shell of a page and its backgrounds."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self._folder = folder
        self._env = env
        self._backgrounds: list[Background] = []

    def __enter__(self) -> Self:
        self._shell = _start(["bash", "--noprofile", "--norc"], self._folder, self._env, subprocess.PIPE)
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._input = self._shell.stdin
        self._output = _Output(self._shell.stdout)
        return self

    def __exit__(self, *exc: object) -> None:
        while self._backgrounds:
            self.stop_newest(signal.SIGINT)
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()
        self._input.close()
        self._output.close()

    def run(self, command: str, timeout_s: float) -> tuple[int, str]:
        """The exit status of a command and everything that it printed, errors included."""
        mark = uuid4().hex
        before = len(self._output.text)
        script = f"{{\n{command}\n}} </dev/null\nprintf '\\n%s %d\\n' {mark} $?\n"
        self._input.write(script.encode())
        self._input.flush()
        ended = self._output.read_until(lambda text: f"{mark} " in text[before:], time.monotonic() + timeout_s)
        printed, _, rest = self._output.text[before:].partition(f"\n{mark} ")
        if not ended:
            state = "ended the shell" if self._output.ended else f"did not end within {timeout_s} s"
            raise TerminalError(f"`{command}` {state}; it printed:\n{printed}")
        return int(rest.split()[0]), printed

    def start(self, command: str, ready: Callable[[str], bool], timeout_s: float) -> None:
        background = Background(command, self._folder, self._env)
        self._backgrounds.append(background)
        background.wait_for(ready, timeout_s)

    def stop_newest(self, number: signal.Signals) -> None:
        if not self._backgrounds:
            raise TerminalError("there is nothing in the background to stop")
        self._backgrounds.pop().stop(number)


def _start(command: list[str], folder: Path, env: Mapping[str, str], stdin: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=dict(env),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        start_new_session=True,
        preexec_fn=_heed_interrupts,  # noqa: PLW1509  # it takes no lock
    )


def _heed_interrupts() -> None:
    """As in a terminal, also where whoever runs the tests ignores them, as a shell does with jobs in its background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
