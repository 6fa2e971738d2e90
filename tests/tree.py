"""The repository as the tests about it see it.

Files are what git would commit, so that caches and environments never count; in a copy without git (a
source archive) the same is told by folder names.
"""

import ast
import importlib.util
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent

# Folder of the distribution -> the package it must hold.
PACKAGES = {
    "shared": "goverse",
    "node": "goverse_node",
    "gate": "goverse_gate",
    "cli": "goverse_cli",
}

_NOT_SOURCE = {
    ".git",
    ".goverse",
    ".hypothesis",
    ".import_linter_cache",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "__pycache__",
    "build",
    "dist",
}

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def repository_files(root: Path = ROOT) -> tuple[Path, ...]:
    """Every file of the repository, sorted, committed or about to be."""
    if (root / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            capture_output=True,
            check=True,
            text=True,
        )
        names = (root / name for name in listing.stdout.split("\0") if name)
        return tuple(sorted(path for path in names if path.is_file()))
    return tuple(sorted(_walk(root)))


def python_files(*folders: str) -> list[Path]:
    """The Python files below these folders of the repository, without those that protoc writes."""
    return [
        path
        for path in repository_files()
        if path.suffix == ".py" and not path.name.endswith("_pb2.py") and path.relative_to(ROOT).parts[0] in folders
    ]


def shown(path: Path) -> str:
    """The path as a reader of a failure knows it."""
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.Module) -> Iterator[tuple[str, FunctionNode]]:
    """Every function with its dotted name inside the module."""
    yield from _functions(tree, "")


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, FunctionNode]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FunctionNode | ast.ClassDef):
            name = f"{prefix}{child.name}"
            if isinstance(child, FunctionNode):
                yield name, child
            yield from _functions(child, f"{name}.")
        else:
            yield from _functions(child, prefix)


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir():
            if path.name not in _NOT_SOURCE:
                yield from _walk(path)
        else:
            yield path


def load_module(path: Path) -> ModuleType:
    """The module of a file that is part of no package, such as a script."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
