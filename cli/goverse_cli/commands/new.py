"""``goverse new``: create a project from a template."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from goverse_cli.invocation import invocation_of
from goverse_cli.terminal import show

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="Name of the project and of its Python package, for example shop."),
]
Into = Annotated[Path | None, typer.Option(help="Parent folder of the new project.", show_default="the current folder")]
Source = Annotated[
    Path | None,
    typer.Option(
        "--goverse",
        help="GoVerse wheel or source folder that the project installs.",
        show_default="the source of this installation",
    ),
]


def new(context: typer.Context, name: Name, *, into: Into = None, source: Source = None) -> None:
    """Create a project: an object type with tests, a web page, pyproject.toml, Makefile, Dockerfile and README.

    The project is created in a new folder with its name. An existing folder is used only if it is empty, so no file
    is overwritten. GoVerse is not published yet; the project's Makefile installs it from a source folder or a wheel.

    \b
    Next steps:
      cd NAME
      make test      install into .venv and run the tests
      make dev       serve the project at http://127.0.0.1:8000

    \b
    Examples:
      goverse new shop
      goverse new web-shop --into ~/projects --goverse dist/goverse-*.whl
    """
    from goverse_cli.project.create import Project, create  # noqa: PLC0415 - keeps other commands fast
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
created {shown} with {len(files)} files; GoVerse will be installed from {project.goverse}
  cd {shown}
  make test      install into .venv and run the tests
  make dev       serve the project at http://127.0.0.1:8000"""
    show(invocation, document, text)
