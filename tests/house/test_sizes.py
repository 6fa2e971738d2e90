"""Upper bounds for the size of modules, functions and signatures.

A module may hold one idea whole, up to 500 lines.

An entry of `EXCEPTIONS` is "path" for a module and "path::name" for a function, with the reason why splitting
would make it worse. An entry that is no longer needed fails.
"""

import ast
from collections.abc import Iterator

from tests.tree import PACKAGES, FunctionNode, functions, python_files, shown

MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 40
POSITIONAL_PARAMETERS_MAX = 5

EXCEPTIONS: dict[str, str] = {
    "node/goverse_node/runtime/activation.py": "one state machine: its phases, its mailbox and its turns act on each "
    "other, and a part of it in another module would need the rest",
}


def _oversized() -> Iterator[tuple[str, str]]:
    for path in python_files(*PACKAGES, "scripts/operate"):
        text = path.read_text(encoding="utf-8")
        lines = len(text.splitlines())
        if lines > MODULE_LINES_MAX:
            yield shown(path), f"{lines} lines"
        for name, function in functions(ast.parse(text)):
            for complaint in _complaints(function):
                yield f"{shown(path)}::{name}", complaint


def _complaints(function: FunctionNode) -> Iterator[str]:
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    if lines > FUNCTION_LINES_MAX:
        yield f"{lines} lines"
    names = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
    if names[:1] in (["self"], ["cls"]):
        names = names[1:]
    if len(names) > POSITIONAL_PARAMETERS_MAX:
        yield f"{len(names)} positional parameters"


def test_modules_and_functions_are_small() -> None:
    assert {place: size for place, size in _oversized() if place not in EXCEPTIONS} == {}


def test_every_exception_is_still_needed() -> None:
    assert set(EXCEPTIONS) <= {place for place, _ in _oversized()}
