"""Writes a new project. The folder gets its final name once it is complete, and no existing file is overwritten."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from goverse_cli.failure import ExitCode, Failure
from goverse_cli.version import release

FILES: Final = {
    "README.md": "README.md",
    "Makefile": "Makefile",
    "pyproject.toml": "pyproject.toml",
    "Dockerfile": "Dockerfile",
    ".dockerignore": "dockerignore",
    ".gitignore": "gitignore",
    "@package@/__init__.py": "init.py",
    "@package@/guestbook.py": "guestbook.py",
    "@package@/py.typed": None,
    "tests/test_guestbook.py": "test_guestbook.py",
    "web/index.html": "index.html",
    "web/page.js": "page.js",
}
"""The files of a project and their templates; None is an empty file."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project to create: its name, its package, its folder, and the source that it installs GoVerse from."""

    name: str
    package: str
    folder: Path
    goverse: str

    def filled(self, text: str) -> str:
        """Return a template with its placeholders replaced."""
        words = {
            "project": self.name,
            "package": self.package,
            "goverse": self.goverse.replace("$", "$$").replace("#", r"\#"),
            "requirement": "goverse" if Path(self.goverse).is_absolute() else self.goverse,
            "version": release(),
        }
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        return text


def create(project: Project) -> list[str]:
    """Write the files of the project and return their names.

    Raises:
        Failure: the folder exists and is not empty, or cannot be written.
    """
    folder = project.folder
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise Failure(
            f"{folder} already exists; nothing was written",
            hint="choose another name, or another parent folder with --into",
            exit_code=ExitCode.USAGE,
        )
    if not folder.parent.is_dir():
        is_file = folder.parent.exists()
        message = f"{folder.parent} is not a folder" if is_file else f"the folder {folder.parent} does not exist"
        hint = "name a folder with --into" if is_file else f"create it first: mkdir -p {folder.parent}"
        raise Failure(message, hint=hint, exit_code=ExitCode.USAGE)
    building = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.new"
    try:
        names = [_write(project, building, name, template) for name, template in FILES.items()]
        os.replace(building, folder)  # noqa: PTH105 - replaces an empty folder; Path.rename does not promise that
    except OSError as error:
        raise Failure(f"{folder} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return names


def _write(project: Project, building: Path, name: str, template: str | None) -> str:
    text = ""
    if template is not None:
        text = (files("goverse_cli.project") / "files" / f"{template}.template").read_text(encoding="utf-8")
    filled = project.filled(name)
    path = building / filled
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(project.filled(text), encoding="utf-8")
    return filled
