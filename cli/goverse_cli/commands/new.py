"""``goverse new``: a project to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from goverse_cli.invocation import invocation_of
from goverse_cli.terminal import show

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the project and of its package: lower-case letters, like shop.")
]
Into = Annotated[
    Path | None, typer.Option(help="Folder in which the project's folder is made.", show_default="the current one")
]
Source = Annotated[
    Path | None,
    typer.Option(
        "--goverse",
        help="Wheel of GoVerse, or folder with its source, that the project installs.",
        show_default="what this goverse was installed from",
    ),
]


def new(context: typer.Context, name: Name, *, into: Into = None, source: Source = None) -> None:
    """Make a project: an object type with tests, a page, pyproject.toml, Makefile, Dockerfile and README.

    The new folder has the project's name. It must not exist, or be empty: nothing is overwritten. GoVerse is not
    published yet, so the project installs it from a folder or a wheel, which its Makefile names.

    \b
    Next:
      cd NAME
      make test      install into .venv and run the tests
      make dev       serve it at http://127.0.0.1:8000

    \b
    Examples:
      goverse new shop
      goverse new web-shop --into ~/projects --goverse dist/goverse-*.whl
    """
    from goverse_cli.project.create import Project, create  # noqa: PLC0415 - other commands start faster without
    from goverse_cli.project.names import package_of  # noqa: PLC0415 - as above
    from goverse_cli.project.source import goverse_source  # noqa: PLC0415 - as above

    invocation = invocation_of(context)
    project = Project(name, package_of(name), (into or Path()) / name, goverse_source(source))
    files = create(project)
    shown = shlex.quote(str(project.folder))
    document = {
        "directory": str(project.folder),
        "package": project.package,
        "goverse": project.goverse,
        "files": files,
    }
    text = f"""\
made {shown} with {len(files)} files; GoVerse will be installed from {project.goverse}
  cd {shown}
  make test      install into .venv and run the tests
  make dev       serve it at http://127.0.0.1:8000"""
    show(invocation, document, text)
