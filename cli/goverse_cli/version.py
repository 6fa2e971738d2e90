"""Which release this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """Return the installed release, or ``unknown`` where the package runs from a source tree that is not installed."""
    try:
        return version("goverse")
    except PackageNotFoundError:
        return "unknown"
