"""The installed version of GoVerse."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """Return the installed version, or ``unknown`` if the package runs from a source tree that is not installed."""
    try:
        return version("goverse")
    except PackageNotFoundError:
        return "unknown"
