"""Source that a new project installs GoVerse from, as long as no release is published."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

import goverse
from goverse_cli.failure import ExitCode, Failure
from goverse_cli.version import release

_HINT: Final = "give a GoVerse wheel or source folder: --goverse ../goverse"
_UNQUOTABLE: Final = re.compile(r"['\n\r]")


def goverse_source(given: Path | None) -> str:
    """Return ``given``, or the source of this installation: a folder, a wheel, or a requirement.

    Raises:
        Failure: the source is not GoVerse, or cannot be determined.
    """
    if given is not None:
        return _checked(given)
    for place in (_of_distribution(), Path(goverse.__file__).resolve().parents[2]):
        if place is not None and _is_goverse(place):
            return _checked(place)
    if release() == "unknown":
        raise Failure("cannot determine the source of this GoVerse", hint=_HINT, exit_code=ExitCode.USAGE)
    if _of_distribution() is not None:
        raise Failure(
            f"this GoVerse was installed from {_of_distribution()}, which no longer exists",
            hint=_HINT,
            exit_code=ExitCode.USAGE,
        )
    return f"goverse=={release()}"


def _of_distribution() -> Path | None:
    try:
        origin = distribution("goverse").read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    if origin is None:
        return None
    url = urlsplit(str(json.loads(origin)["url"]))
    return Path(url2pathname(url.path)) if url.scheme == "file" else None


def _checked(place: Path) -> str:
    path = place.resolve()
    if not _is_goverse(path):
        raise Failure(
            f"{place} is neither a GoVerse wheel nor a GoVerse source folder", hint=_HINT, exit_code=ExitCode.USAGE
        )
    if _UNQUOTABLE.search(str(path)):
        raise Failure(
            f"{path} contains a quote or a line break, which is not allowed in a Makefile",
            hint=_HINT,
            exit_code=ExitCode.USAGE,
        )
    return str(path)


def _is_goverse(path: Path) -> bool:
    if path.suffix == ".whl":
        return path.is_file() and path.name.startswith("goverse-")
    try:
        project = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(project.get("project", {}).get("name") == "goverse")
