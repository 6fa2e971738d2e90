"""Safety check of generated modules: they contain types only, and no code that runs on import.

Schemas come from a foreign document. Their extensions (``x-python-type``) can make the class generator import any
module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

_MODULES: Final = frozenset(
    ("__future__", "typing", "typing_extensions", "collections.abc", "datetime", "decimal", "enum", "pathlib", "uuid")
)
_TYPES: Final = (
    *(ast.Name, ast.Attribute, ast.Subscript, ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.BinOp, ast.BitOr),
    *(ast.UnaryOp, ast.USub, ast.Load),
)


def strangers(text: str) -> Iterator[str]:
    """Yield every statement that is not an import of types, a class with only annotations, or a type alias.

    Raises:
        SyntaxError: the text is not valid Python.
    """
    for statement in ast.parse(text).body:
        if not _is_harmless(statement):
            yield ast.unparse(statement)


def _is_harmless(statement: ast.stmt) -> bool:
    match statement:
        case ast.ImportFrom(module=module, level=0):
            return module in _MODULES
        case ast.AnnAssign(target=ast.Name(), annotation=annotation, value=value):
            return _is_type(annotation) and (value is None or _is_type(value))
        case ast.Assign(targets=[ast.Name()], value=ast.Call(func=ast.Name("TypedDict"), args=args, keywords=keywords)):
            return all(_is_type(each) for each in (*args, *(keyword.value for keyword in keywords)))
        case ast.ClassDef(bases=bases, keywords=keywords, decorator_list=[], body=body):
            values = [*bases, *(keyword.value for keyword in keywords)]
            return all(_is_type(each) for each in values) and all(_is_member(each) for each in body)
        case _:
            return False


def _is_member(statement: ast.stmt) -> bool:
    match statement:
        case ast.Pass() | ast.Expr(value=ast.Constant()):
            return True
        case ast.AnnAssign(target=ast.Name(), annotation=annotation, value=None):
            return _is_type(annotation)
        case _:
            return False


def _is_type(expression: ast.expr) -> bool:
    return all(isinstance(node, _TYPES) for node in ast.walk(expression))
