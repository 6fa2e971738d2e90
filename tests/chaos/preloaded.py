"""Fast start of ``goverse`` processes: this process imports everything once, and each server is a fork of it.

    python -m tests.chaos.preloaded

It reads JSON lines from standard input. A list of arguments starts ``goverse`` with them and prints its process id;
``null`` waits until it ends and prints its exit code, or minus the number of a signal. It runs one server at a time and
exits at the end of its input.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import traceback
from typing import Final, NoReturn

import goverse_cli.banner
import goverse_cli.main
import goverse_cli.serve  # `goverse dev` imports it late; import it before the fork

PR_SET_PDEATHSIG: Final = 1


def main() -> None:
    """Start servers and wait for their ends, as requested on standard input."""
    pid = 0
    for line in sys.stdin:
        arguments: list[str] | None = json.loads(line)
        if arguments is None:
            _, status = os.waitpid(pid, 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            pid = answer = os.fork()
            if pid == 0:
                _become(arguments)
        print(answer, flush=True)  # noqa: T201


def _become(arguments: list[str]) -> NoReturn:
    status = 1
    try:
        _die_with_parent()
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(2, 1)
        status = goverse_cli.main.run(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _die_with_parent() -> None:
    """Request SIGTERM from the kernel for the end of the parent."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended just before
        os._exit(1)


if __name__ == "__main__":
    main()
