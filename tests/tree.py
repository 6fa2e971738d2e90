"""The files of the repository, for tests about the source code.

Only files that git would commit are listed, so caches and environments do not count. In a copy without git, such as a
source archive, known folder names are left out instead.
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
    """Return every file that is committed or would be, sorted."""
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
    """Return the Python files below these folders, without those that protoc generates."""
    return [
        path
        for path in repository_files()
        if path.suffix == ".py" and not path.name.endswith("_pb2.py") and path.relative_to(ROOT).parts[0] in folders
    ]


def shown(path: Path) -> str:
    """Return the path relative to the repository, for messages."""
    return path.relative_to(ROOT).as_posix()


def functions(tree: ast.Module) -> Iterator[tuple[str, FunctionNode]]:
    """Yield every function with its dotted name inside the module."""
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
    """Load a file that does not belong to a package, such as a script, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
