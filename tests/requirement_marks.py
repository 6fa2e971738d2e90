"""Finds the requirement ids that tests carry, by reading the sources.

Reading instead of collecting makes the answer the same whichever tests are selected. A mark counts where
pytest would honour it on a test: on a test function, on its class, or in a module's or class's `pytestmark`.
A class with bases counts as a test of its own: it runs the contract suite that it inherits.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.tree import FunctionNode


@dataclass(frozen=True)
class Mark:
    requirement: str
    place: str


class UnreadableMark(Exception):
    """A requirement mark whose ids are not plain strings."""


def marks_in(paths: Iterable[Path]) -> list[Mark]:
    """Return all pairs of requirement id and place in these files, in order."""
    found: list[Mark] = []
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        found.extend(_marks_of_body(tree.body, str(path), inherited=()))
    return found


def _marks_of_body(body: list[ast.stmt], place: str, *, inherited: tuple[str, ...]) -> Iterator[Mark]:
    own = inherited + tuple(id_ for statement in body for id_ in _ids_of_pytestmark(statement, place))
    for node in body:
        if isinstance(node, FunctionNode) and node.name.startswith("test"):
            where = f"{place}::{node.name}"
            for id_ in (*own, *_ids_of_decorators(node, where)):
                yield Mark(id_, where)
        elif isinstance(node, ast.ClassDef):
            where = f"{place}::{node.name}"
            ids = (*own, *_ids_of_decorators(node, where))
            yield from _marks_of_body(node.body, where, inherited=ids)
            if node.bases:
                yield from (Mark(id_, where) for id_ in ids if node.name.startswith("Test"))
        elif isinstance(node, ast.Assign) and _is_test_case(node):
            where = f"{place}::{ast.unparse(node.targets[0])}"
            for id_ in own:
                yield Mark(id_, where)


def _is_test_case(node: ast.Assign) -> bool:
    """`TestProgram = Machine.TestCase`, the way hypothesis hands a state machine to pytest."""
    return isinstance(node.value, ast.Attribute) and node.value.attr == "TestCase"


def _ids_of_pytestmark(statement: ast.stmt, place: str) -> list[str]:
    if not isinstance(statement, ast.Assign):
        return []
    if not any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in statement.targets):
        return []
    value = statement.value
    marks = value.elts if isinstance(value, ast.List | ast.Tuple) else [value]
    return [id_ for mark in marks for id_ in _ids_of_mark(mark, place)]


def _ids_of_decorators(node: FunctionNode | ast.ClassDef, place: str) -> list[str]:
    return [id_ for decorator in node.decorator_list for id_ in _ids_of_mark(decorator, place)]


def _ids_of_mark(node: ast.expr, place: str) -> list[str]:
    if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("mark.requirement"):
        return []
    ids = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    if len(ids) != len(node.args) or not ids or node.keywords:
        raise UnreadableMark(f"{place}: a requirement mark takes one or more plain strings")
    return ids
