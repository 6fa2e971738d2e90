"""A program that is a fork of an imported one gets what another program gets, and ends like one."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import preloaded

PRINT = """
import json, os, sys
print(json.dumps([sys.argv[1:], os.getcwd(), os.environ["WORD"], "HOME" in os.environ, sys.stdin.read()]))
print("é", file=sys.stderr)
sys.exit(7)
"""


def test_a_program_has_arguments_folder_environment_and_streams_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "shown.py").write_text(PRINT, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if name != "HOME"}

    ended = preloaded.run("shown", "a", "b c", cwd=tmp_path, env={**env, "WORD": "w"}, stdin="ü", timeout=60)

    assert ended.stdout == f'[["a", "b c"], "{tmp_path}", "w", false, "\\u00fc"]\n'
    assert (ended.returncode, ended.stderr) == (7, "é\n")


def test_a_program_ends_by_a_signal_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text("import signal; signal.pause()", encoding="utf-8")
    started = preloaded.start("waits", cwd=tmp_path, env=os.environ, stdio=(0, 1, 2))

    with pytest.raises(subprocess.TimeoutExpired):
        started.wait(0.05)
    assert started.poll() is None
    started.send_signal(signal.SIGKILL)
    assert started.wait(60) == started.poll() == -signal.SIGKILL


def test_an_environment_that_needs_another_interpreter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="need an interpreter"):
        preloaded.run("shown", cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": "1"}, timeout=60)
