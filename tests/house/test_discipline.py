"""Rules for tests: they do not sleep, are not skipped, and assert something.

A test counts as asserting when it, or a function that it calls in the same file, holds an `assert`, a
`pytest.raises` or `pytest.fail`, or calls something whose name says that it checks; `until` waits for a
condition and fails at its bound.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tree import ROOT, FunctionNode, functions, python_files, shown

CHECKING_NAME = re.compile(r"(^|_)(assert|check|expect|validate|verify|raises|fail|fails|until)(_|$|s$)")
SKIPPING = re.compile(r"pytest\.(mark\.(skip|skipif|xfail)|skip|xfail|importorskip)$")


def _test_sources() -> list[Path]:
    return [
        path
        for path in python_files("tests", "sample-app", "benchmarks")
        if "tests" in path.relative_to(ROOT).parts or path.name.startswith("test_")
    ]


def _called(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            yield ast.unparse(part.func)


def _sleeps(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            if any(name.name == "sleep" for name in node.names):
                yield node.lineno
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "time.sleep":
            yield node.lineno


def _skips(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and SKIPPING.match(ast.unparse(node)):
            yield node.lineno


def _idle_tests(tree: ast.Module) -> Iterator[int]:
    known: dict[str, FunctionNode] = {name.rpartition(".")[2]: node for name, node in functions(tree)}
    asserting = {name for name, node in known.items() if _asserts_itself(node)}
    growing = True
    while growing:
        more = {name for name, node in known.items() if asserting & _local_calls(node)} - asserting
        asserting |= more
        growing = bool(more)
    for name, node in known.items():
        if name.startswith("test_") and name not in asserting and not _is_fixture(node):
            yield node.lineno


def _asserts_itself(node: FunctionNode) -> bool:
    if any(isinstance(part, ast.Assert) for part in ast.walk(node)):
        return True
    return any(CHECKING_NAME.search(name.rpartition(".")[2]) for name in _called(node))


def _local_calls(node: FunctionNode) -> set[str]:
    return {name.rpartition(".")[2] for name in _called(node)}


def _is_fixture(node: FunctionNode) -> bool:
    return any("fixture" in ast.unparse(decorator) for decorator in node.decorator_list)


def _places(rule: str) -> list[str]:
    find = {"sleeps": _sleeps, "skips": _skips, "idle": _idle_tests}[rule]
    return [
        f"{shown(path)}:{line}"
        for path in _test_sources()
        for line in find(ast.parse(path.read_text(encoding="utf-8")))
    ]


@pytest.mark.parametrize("rule", ["sleeps", "skips", "idle"])
def test_no_test_breaks_the_rule(rule: str) -> None:
    assert _places(rule) == []


@pytest.mark.parametrize(
    "source",
    ["import time\ntime.sleep(1)\n", "from time import monotonic, sleep\n"],
)
def test_a_sleep_is_seen(source: str) -> None:
    assert list(_sleeps(ast.parse(source))) != []


@pytest.mark.parametrize(
    "source",
    ["@pytest.mark.skip\ndef test_it(): ...\n", "def test_it():\n    pytest.skip('later')\n"],
)
def test_a_skip_is_seen(source: str) -> None:
    assert list(_skips(ast.parse(source))) != []


@pytest.mark.parametrize(
    ("source", "idle"),
    [
        ("def test_it():\n    run()\n", True),
        ("def test_it():\n    assert run()\n", False),
        ("def test_it():\n    with pytest.raises(ValueError):\n        run()\n", False),
        ("def test_it():\n    check_store(1)\n", False),
        ("def test_it():\n    answer()\n\ndef answer():\n    assert run()\n", False),
    ],
)
def test_a_test_that_asserts_nothing_is_seen(source: str, *, idle: bool) -> None:
    assert bool(list(_idle_tests(ast.parse(source)))) is idle
