"""The prose check finds what it is for, and nothing in values or code."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tree import ROOT

SCRIPT = ROOT / "scripts" / "prose.py"
WHO = "who" + "ever"


def _check(path: Path, text: str) -> tuple[int, str]:
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(path)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.py", f"x = 1\n\n# {WHO} waits\n", 3),
        ("a.py", f'raise ValueError("{WHO} waits has to go")\n', 1),
        ("a.py", f'def f(x: int) -> str:\n    return f"{{x}}: {WHO} waits"\n', 2),
        ("a.py", f'"""A module.\n\nIt serves {WHO} calls.\n"""\n', 3),
        ("a.py", '"""Where the keys are."""\n', 1),
        ("a.py", 'def f() -> bool:\n    """Whether it is so."""\n    return True\n', 2),
        ("a.md", f"# Title\n\nIt serves {WHO} calls.\n", 3),
        ("a.yaml", f"# {WHO.capitalize()} calls\nkey: value\n", 1),
    ],
)
def test_a_word_that_is_not_to_be_used_is_found(tmp_path: Path, name: str, text: str, line: int) -> None:
    path = tmp_path / name

    code, printed = _check(path, text)

    assert code == 1
    assert printed.startswith(f"{path}:{line}: ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", 'create = "no' + 'body"\n'),
        ("a.py", f"{WHO} = 1\nprint({WHO})\n"),
        ("a.py", f"x = \"access is denied: create is '{WHO}'\"\n"),
        ("a.py", f'"""A module with ``{WHO}`` as code."""\n'),
        ("a.py", '"""A module. Where the keys are is not its opening."""\n'),
        ("a.md", f"The value `{WHO}` is code.\n\n```text\n{WHO}\n```\n"),
        ("a.md", "An event-driven system amends nothing.\n"),
    ],
)
def test_values_and_code_are_not_read(tmp_path: Path, name: str, text: str) -> None:
    assert _check(tmp_path / name, text) == (0, "")
