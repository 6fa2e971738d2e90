"""The page on the command line shows the help of every command."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.processes import goverse
from tests.tree import ROOT

PAGE = ROOT / "docs" / "guide" / "command-line.md"
PARTS = re.compile(r"<!-- help: ([\w ]+) -->\n```text\n(.*?)\n```\n<!-- end -->", re.DOTALL)
SHOWN = dict(PARTS.findall(PAGE.read_text(encoding="utf-8")))


def help_of(command: str, cwd: Path) -> str:
    return goverse(*command.split()[1:], "--help", cwd=cwd, COLUMNS="80", TERM="dumb").stdout.strip()


def subcommands(text: str) -> list[str]:
    _, _, listed = text.partition("Commands:\n")
    return re.findall(r"^  (\w+)  ", listed, re.MULTILINE)


@pytest.mark.parametrize("command", SHOWN)
def test_the_page_shows_the_help_of(command: str, tmp_path: Path) -> None:
    assert SHOWN[command] == help_of(command, tmp_path)


def test_the_page_shows_every_command(tmp_path: Path) -> None:
    def leaves(command: str) -> Iterator[str]:
        below = subcommands(help_of(command, tmp_path))
        if not below:
            yield command
        for name in below:
            yield from leaves(f"{command} {name}")

    assert {*leaves("goverse"), "goverse"} == set(SHOWN)


@pytest.mark.parametrize("command", [command for command in SHOWN if command != "goverse"])
def test_every_command_has_examples(command: str) -> None:
    assert "Examples:\n    goverse " in SHOWN[command]
