"""The terminals of a reader: one shell for commands, and background processes that run next to it.

The shell is one bash for the whole page, so `cd`, `export` and an activated environment keep their effect. Every wait
has a timeout. At the end, all processes are stopped with their process groups.
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
    """A command that did not end, or a background process that ended or was not ready in time, with its output."""


class _Output:
    """The output of a process so far, read without blocking."""

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
        """Read until the text satisfies the predicate (True), or the output ends or the deadline passes (False)."""
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
    """A process that runs next to the shell, in its own process group."""

    def __init__(self, script: str, folder: Path, env: Mapping[str, str]) -> None:
        self._process = _start(["bash", "--noprofile", "--norc", "-c", script], folder, env, subprocess.DEVNULL)
        assert self._process.stdout is not None
        self._output = _Output(self._process.stdout)

    def wait_for(self, satisfied: Callable[[str], bool], timeout_s: float) -> None:
        if not self._output.read_until(satisfied, time.monotonic() + timeout_s):
            state = "ended" if self._output.ended else f"was not ready after {timeout_s} s"
            raise TerminalError(f"the background process {state}; it printed:\n{self._output.text}")

    def stop(self, number: signal.Signals, timeout_s: float = 30.0) -> None:
        """Send the signal to the process group and wait for its end. After the timeout, kill the group."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
        # The pipe ends when the last process of the group has closed it.
        self._output.read_until(lambda _: False, time.monotonic() + timeout_s)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


class Terminal:
    """The shell of a page and its background processes."""

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
        """Run a command; return its exit status and its output, standard error included."""
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
            raise TerminalError("no background process to stop")
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
    """Restore the default action of SIGINT, which a shell ignores for its background jobs, such as this test run."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
