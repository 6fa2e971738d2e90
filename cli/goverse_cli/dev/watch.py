"""The files whose changes reload a running application.

These are the Python files of the application's package, every other Python file below its folder that it imported, and
the settings file. Until an import has succeeded, every Python file below the folder counts, because an edit of any of
them may fix the import. Virtual environments, caches and hidden folders never count.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from watchfiles import Change, DefaultFilter, awatch  # pyright: ignore[reportUnknownVariableType]


class SourceFilter(DefaultFilter):
    """Filter for file changes: accepts those that concern the application."""

    def __init__(self, folder: Path, package: Path | None, config: Path | None) -> None:
        """Accept files below ``folder`` and the settings file ``config``; all paths are resolved.

        ``package`` is the application's folder if the application is a package.
        """
        super().__init__()
        self.folder = folder
        self.config = config
        self._package = package
        self._imported: frozenset[Path] | None = None

    def imported(self, files: Iterable[str] | None) -> None:
        """Set the files that the newest import loaded, or None if it failed."""
        self._imported = frozenset(map(Path, files)) if files is not None else None

    def __call__(self, change: Change, path: str) -> bool:
        """Return True if a change of ``path`` concerns the application."""
        changed = Path(path)
        if changed == self.config:
            return True
        if changed.suffix != ".py" or not super().__call__(change, path) or not changed.is_relative_to(self.folder):
            return False
        if any(part.startswith(".") for part in changed.relative_to(self.folder).parts[:-1]):
            return False
        if self._imported is None or (self._package is not None and changed.is_relative_to(self._package)):
            return True
        return changed in self._imported


async def changes(concerns: SourceFilter) -> AsyncIterator[str]:
    """Yield a description of each change that concerns the application. Simultaneous changes are one.

    Raises:
        OSError, RuntimeError: the system cannot watch the folder.
    """
    folder, config = concerns.folder, concerns.config
    watched = [folder] if config is None or config.is_relative_to(folder) else [folder, config]
    async for found in awatch(*watched, watch_filter=concerns):
        names = sorted({_shown(Path(path), folder) for _, path in found})
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{names[0]}{more}"


def _shown(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
