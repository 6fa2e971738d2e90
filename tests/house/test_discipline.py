"""Every test asserts something. Sleeps and skips are found by the linter.

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


def test_no_test_of_the_repository_asserts_nothing() -> None:
    idle = [
        f"{shown(path)}:{line}"
        for path in _test_sources()
        for line in _idle_tests(ast.parse(path.read_text(encoding="utf-8")))
    ]

    assert idle == []


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
