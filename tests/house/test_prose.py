"""The prose check finds what it is for, and nothing in values or code."""

import tomllib
from pathlib import Path

import pytest

from tests.tree import ROOT, load_module

PROSE = load_module(ROOT / "scripts" / "prose.py")
WHO = "who" + "ever"


def _check(path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    path.write_text(text, encoding="utf-8")
    code: int = PROSE.main([str(path)])
    return code, capsys.readouterr().out


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
        ("a.py", "x = 1  # TO" + "DO: two\n", 1),
        ("a.sh", "set -e\nrm a |" + "| true\n", 2),
        ("a.yaml", "a: 1\nb: [/ro" + "ot/a]\n", 2),
        ("a.md", "# Title\n\n<<<" + "<<<< main\n", 3),
        ("utils.py", "x = 1\n", 1),
    ],
)
def test_a_word_that_is_not_to_be_used_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str, line: int
) -> None:
    path = tmp_path / name

    code, printed = _check(path, text, capsys)

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
def test_values_and_code_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, text: str) -> None:
    assert _check(tmp_path / name, text, capsys) == (0, "")


@pytest.mark.parametrize(("lines", "found"), [(500, 0), (501, 1)])
def test_a_module_of_the_product_is_not_too_long(lines: int, found: int) -> None:
    rules = PROSE.Rules(tomllib.loads(PROSE.RULES.read_text(encoding="utf-8")))

    assert len(list(rules.in_module("shared/goverse/new.py", "x = 1\n" * lines))) == found
    assert list(rules.in_module("tests/unit/test_new.py", "x = 1\n" * lines)) == []


def test_an_exception_for_a_module_that_is_not_long_is_found() -> None:
    source = tomllib.loads(PROSE.RULES.read_text(encoding="utf-8"))
    source["modules"]["longer"] = {"shared/goverse/new.py": "it is one idea"}

    assert list(PROSE.Rules(source).in_module("shared/goverse/new.py", "x = 1\n" * 501)) == []
    assert len(list(PROSE.Rules(source).in_module("shared/goverse/new.py", "x = 1\n" * 500))) == 1
