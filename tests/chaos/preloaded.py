"""``goverse`` processes that start in a moment: this process imports everything once, each server is a fork of it.

    python -m tests.chaos.preloaded

Takes JSON lines: a list of arguments starts ``goverse`` with them and answers its process id; ``null`` waits for its
end and answers the exit code, minus the number of a signal. One server at a time. It ends with its input.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import NoReturn

import goverse_cli.banner
import goverse_cli.main
import goverse_cli.serve  # `goverse dev` imports it when it runs; here it is to be there already
from goverse_cli.dev.lifeline import die_with_parent


def main() -> None:
    """Start and wait, as told."""
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
        die_with_parent()
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(2, 1)
        status = goverse_cli.main.run(arguments)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
