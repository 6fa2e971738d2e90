"""The pages for operators are true: the commands, options, findings, codes, reasons, metrics and settings exist."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

import goverse
import goverse_gate
import goverse_node
from goverse.errors import BusinessError, GoverseError
from goverse.limits import STATE_BYTES_MAX
from goverse.settings import Settings
from scripts.operate import checks
from scripts.operate.__main__ import main, parser
from tests.tree import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "design" not in path.parts)
TROUBLE = (DOCS / "guide" / "troubleshooting.md").read_text(encoding="utf-8")
UPGRADE = (DOCS / "guide" / "upgrade.md").read_text(encoding="utf-8")
METRICS = (DOCS / "guide" / "metrics.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"python3 -m scripts\.operate[^`\n]*")
# The functions that return the reasons why a process is not ready, by file.
REASONS = {
    "shared/goverse/routing/links.py": "readiness_of",
    "node/goverse_node/node.py": "readiness",
    "node/goverse_node/ownership/keeper.py": "reasons",
    "node/goverse_node/stores/postgres/store.py": "health",
    "node/goverse_node/stores/memory.py": "health",
    "gate/goverse_gate/health.py": "ready",
}


def _commands() -> list[tuple[str, str]]:
    return [
        (page.name, found[0].partition("#")[0].strip())
        for page in PAGES
        for found in COMMAND.finditer(page.read_text(encoding="utf-8"))
    ]


@pytest.mark.requirement("OPS-9", "DOC-2")
def test_the_commands_for_operators_can_be_read_by_the_tool() -> None:
    seen = set[str]()
    for page, command in _commands():
        words = shlex.split(command)[3:]
        if not words or words in (["COMMAND"], ["restore"]):
            continue
        try:
            parser().parse_args(words)
        except SystemExit:
            pytest.fail(f"{page}: {command}")
        seen.add(words[0])

    assert seen == {"deploy", "upgrade", "validate", "debug", "backup", "restore", "size"}


@pytest.mark.requirement("OPS-9", "DOC-2")
def test_the_sizes_that_pages_ask_for_are_answered(capsys: pytest.CaptureFixture[str]) -> None:
    asked = [shlex.split(command)[3:] for _, command in _commands() if " size --objects" in command]

    assert len(asked) == 2
    for words in asked:
        assert main(words) == 0
        assert "nodes" in capsys.readouterr().out


@pytest.mark.requirement("OPS-9", "DOC-2")
def test_the_findings_of_an_upgrade_are_explained() -> None:
    named = {each.__name__ for each in (*checks.BEFORE, *checks.AFTER)}

    assert named - set(re.findall(r"`(\w+)`", UPGRADE)) == set()
    rows = set(re.findall(r"^\| `(\w+)` \|", UPGRADE, re.MULTILINE))
    assert rows | {"migrations_pending"} == {each.__name__ for each in checks.BEFORE}


def _codes() -> set[str]:
    """Return the codes of all errors of GoVerse, without those of applications."""
    for package in (goverse, goverse_node, goverse_gate):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "_pb2" not in module.name:
                importlib.import_module(module.name)

    def classes(kind: type[GoverseError]) -> Iterator[type[GoverseError]]:
        yield kind
        for below in kind.__subclasses__():
            if below is BusinessError or not issubclass(below, BusinessError):
                yield from classes(below)

    return {kind.code for kind in classes(GoverseError) if kind.__module__.startswith("goverse")}


@pytest.mark.requirement("DOC-2")
def test_every_error_code_is_in_troubleshooting_and_each_that_it_names_exists() -> None:
    section = TROUBLE.partition("## A request fails")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]

    assert {code for cell in cells for code in re.findall(r"`(\w+)`", cell)} == _codes()


def _reasons() -> set[str]:
    """Return the texts of the functions in `REASONS`, with `…` for each value that is inserted."""
    found = set[str]()
    for path, name in REASONS.items():
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        (function,) = [node for node in functions if node.name == name]
        inner = {id(part) for node in ast.walk(function) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(function):
            if isinstance(node, ast.JoinedStr):
                found.add("".join(_shown(part) for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
                found.add(node.value)
        found.discard(ast.get_docstring(function, clean=False) or "")
    return {text for text in found if " " in text}


def _shown(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "…"


@pytest.mark.requirement("DOC-2", "CLU-10")
def test_every_reason_for_not_being_ready_is_in_troubleshooting_and_each_that_it_names_exists() -> None:
    section = TROUBLE.partition("## A process does not become ready")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]

    assert {reason for cell in cells for reason in re.findall(r"`([^`]+)`", cell)} == _reasons()


@pytest.mark.requirement("DOC-2")
@pytest.mark.parametrize("name", ["troubleshooting", "scaling", "upgrade", "compatibility"])
def test_settings_and_metrics_that_a_page_names_exist(name: str) -> None:
    text = (DOCS / "guide" / f"{name}.md").read_text(encoding="utf-8")
    sections = Settings.model_fields
    for section, field in re.findall(r"`(\w+)\.([a-z]\w+)`", text):
        if section in sections and section not in {"goverse"}:
            assert field in sections[section].annotation.model_fields, f"{section}.{field}"  # type: ignore[union-attr]
    for metric in re.findall(r"\bgoverse_[a-z_]+\b", text):
        assert metric in METRICS or (ROOT / "node" / metric).exists() or metric == "goverse_cli", metric
    if name == "troubleshooting":
        assert f"{STATE_BYTES_MAX >> 20} MiB" in text


@pytest.mark.requirement("DOC-2")
def test_the_guides_that_are_owed_are_there_and_linked() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    owed = ["configuration", "deployment", "scaling", "security", "troubleshooting", "upgrade", "best-practices"]
    owed += ["compatibility", "durability", "http"]

    for page in [*(f"guide/{name}.md" for name in owed), "operations/README.md", "performance.md"]:
        assert (DOCS / page).is_file()
        assert f"({page})" in index


def test_pages_are_found() -> None:
    assert {Path("guide/upgrade.md"), Path("operations/README.md")} <= {page.relative_to(DOCS) for page in PAGES}
