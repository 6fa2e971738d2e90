"""Validation of the name of a new project, and the name of its Python package."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.metadata import packages_distributions
from typing import Final

from goverse_cli.failure import ExitCode, Failure

NAME_LENGTH_MAX: Final = 40
_NAME: Final = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_FOLDERS: Final = frozenset({"test", "tests", "web", "dist", "build", "packages"})
_INSTALLED: Final = frozenset({"hatchling", "mypy", "pip", "pytest", "pytest_asyncio", "setuptools", "wheel"})


def package_of(name: str) -> str:
    """Return the Python package name of the project ``name``.

    Raises:
        Failure: the name is invalid, or another Python package has that name.
    """
    if not _NAME.fullmatch(name) or len(name) > NAME_LENGTH_MAX:
        raise _refused(
            f"{name!r} is not a valid project name",
            f"use at most {NAME_LENGTH_MAX} lower-case letters, digits, '-' and '_', starting with a letter: shop",
        )
    package = name.replace("-", "_")
    if keyword.iskeyword(package) or keyword.issoftkeyword(package):
        raise _refused(f"{name!r} is a Python keyword, so the project's package could not be imported", _ANOTHER)
    if package in sys.stdlib_module_names:
        raise _refused(f"{name!r} would hide a module of Python's standard library", _ANOTHER)
    if package in _FOLDERS:
        raise _refused(f"{name!r} is the name of a folder inside the project", _ANOTHER)
    if package in _INSTALLED or package.partition("_")[0] == "goverse" or package in packages_distributions():
        raise _refused(f"{name!r} would hide a package that the project installs", _ANOTHER)
    return package


_ANOTHER: Final = "choose another name"


def _refused(message: str, hint: str) -> Failure:
    return Failure(message, hint=hint, exit_code=ExitCode.USAGE)
