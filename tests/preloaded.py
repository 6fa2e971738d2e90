"""Fast starts of our programs: one process per test run imports everything once, and each program is a fork of it.

Python with our imports needs a second of processor time before a command does its work, and the tests of the system
tier start hundreds of programs. ``start`` is ``python -m MODULE ARGUMENTS`` without that second. The program is a
process of its own: it has its arguments, folder, environment, descriptors, signals and exit code, it can be killed, and
its interpreter ends as usual. It shares only the imported code, and with it the seed of ``hash``.

Tests of the start itself, and those of the commands that pages and images show, start Python.

    python -m tests.preloaded DESCRIPTOR

A request is a JSON message on this socket, with four descriptors: standard input, output and error of the program, and
a socket for the answer: its process id, and its exit code once it has ended, in 4 bytes each. All programs are killed
when the requesting process ends.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from tests.tree import PACKAGES, ROOT

_IMPORTED: Final = (
    "goverse_cli.banner",
    "goverse_cli.cluster.gate",
    "goverse_cli.cluster.moving",
    "goverse_cli.cluster.node",
    "goverse_cli.cluster.parts",
    "goverse_cli.cluster.reach",
    "goverse_cli.commands.load",
    "goverse_cli.event_loop",
    "goverse_cli.main",
    "goverse_cli.project.create",
    "goverse_cli.serve",
    "goverse_cli.server_client",
    "goverse_node.stores.postgres.load",
    "goverse_node.stores.wal.diff",
    "goverse_node.stores.wal.dump",
    "goverse_node.stores.wal.load",
    "goverse_node.stores.wal.restore",
)
"""Modules that commands import late."""

_REQUEST_BYTES_MAX: Final = 1 << 17
_PR_SET_PDEATHSIG: Final = 1
_OF_THE_START: Final = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
_PASSED_ON: Final = ("PYTHONPATH", "PYTHONUNBUFFERED")


class Started:
    """A program that was started, with the methods of ``subprocess.Popen`` that tests use."""

    def __init__(self, answer: socket.socket) -> None:
        """Read the process id, which is the first answer."""
        self._answer = answer
        self._code: int | None = None
        self.pid = self._read()

    def poll(self) -> int | None:
        """Return the exit code, or minus the number of a signal; None while the program runs."""
        if self._code is None:
            self._answer.settimeout(0)
            try:
                self._code = self._read()
            except BlockingIOError:
                return None
            self._answer.close()
        return self._code

    def wait(self, timeout: float) -> int:
        """Return the exit code once the program has ended."""
        if self._code is None:
            self._answer.settimeout(timeout)
            try:
                self._code = self._read()
            except TimeoutError:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout) from None
            self._answer.close()
        return self._code

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the program is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the program without its consent."""
        self.send_signal(signal.SIGKILL)

    def _read(self) -> int:
        read = self._answer.recv(4)
        assert len(read) == 4, "the process that starts programs has ended"
        return int.from_bytes(read, signed=True)


def start(
    *command: str,
    cwd: Path | None,
    env: Mapping[str, str],
    stdio: tuple[int | IO[bytes], int | IO[bytes], int | IO[bytes]],
) -> Started:
    """Start a module with arguments, as ``python -m`` does, on these descriptors for input, output and errors."""
    assert _of_the_start(env) == _of_the_start(os.environ), "these variables need an interpreter that starts with them"
    request = json.dumps([command, str(cwd or Path.cwd()), dict(env)]).encode()
    assert len(request) <= _REQUEST_BYTES_MAX
    ours, theirs = socket.socketpair()
    with theirs:
        descriptors = [each if isinstance(each, int) else each.fileno() for each in stdio]
        socket.send_fds(_starter(), [request], [*descriptors, theirs.fileno()])
    return Started(ours)


def run(
    *command: str, cwd: Path | None, env: Mapping[str, str], stdin: str = "", timeout: float
) -> subprocess.CompletedProcess[str]:
    """Run a module with arguments and return its result, as ``subprocess.run`` does."""
    with TemporaryFile() as given, TemporaryFile() as out, TemporaryFile() as err:
        given.write(stdin.encode())
        given.seek(0)
        started = start(*command, cwd=cwd, env=env, stdio=(given, out, err))
        try:
            code = started.wait(timeout)
        finally:
            started.kill()
        texts = []
        for each in (out, err):
            each.seek(0)
            texts.append(each.read().decode())
        return subprocess.CompletedProcess(command, code, *texts)


def _of_the_start(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that an interpreter, or its loader, reads as it starts."""
    return {
        name: value for name, value in variables.items() if name.startswith(_OF_THE_START) and name not in _PASSED_ON
    }


@cache
def _starter() -> socket.socket:
    """Start the process that starts programs; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    roots = [str(ROOT / root) for root in (*PACKAGES, ".")]
    path = os.pathsep.join([*roots, *filter(None, [os.environ.get("PYTHONPATH")])])
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _serve(requests: socket.socket) -> None:
    """Fork for each request. Return in the process of a program, with its module."""
    for name in _IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # a program collects and frees its own objects alone
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies of the processes that wait for programs
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the tests, which end this process
    here = os.getpid()
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_BYTES_MAX, 4)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            requests.close()
            command, folder, env = json.loads(request)
            _start_and_wait(here, descriptors.pop())
            _become(command, folder, env, descriptors)
            return
        for each in descriptors:
            os.close(each)


def _start_and_wait(parent: int, answer: int) -> None:
    """Fork the program and return in it. The process that called waits for the program, and answers."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _die_with(parent)
    here = os.getpid()
    pid = os.fork()
    if pid == 0:
        _die_with(here)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.close(answer)
        return
    try:
        os.write(answer, pid.to_bytes(4, signed=True))
        for number in range(3):
            os.close(number)
        os.closerange(3, answer)
        os.closerange(answer + 1, answer + 64)
        _, status = os.waitpid(pid, 0)
        os.write(answer, os.waitstatus_to_exitcode(status).to_bytes(4, signed=True))
    finally:
        os._exit(0)


def _become(command: list[str], folder: str, env: dict[str, str], descriptors: list[int]) -> None:
    """Take over what a program gets from the one that starts it."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.path[0] = folder
    sys.path[1:1] = [each for each in env.get("PYTHONPATH", "").split(os.pathsep) if each and each not in sys.path]
    sys.argv = command


def _die_with(parent: int) -> None:
    """Request SIGKILL from the kernel for the end of the parent."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended just before
        os._exit(1)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
