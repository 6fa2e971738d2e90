"""Which changes on the disk concern a running application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import Change, DefaultFilter, awatch  # pyright: ignore[reportUnknownVariableType]


class SourceFilter(DefaultFilter):
    """Python files outside of virtual environments, caches and hidden folders, and the settings file."""

    def __init__(self, folder: Path, config: Path | None) -> None:
        """Look below ``folder``, and at ``config``."""
        super().__init__()
        self._folder = folder
        self._config = config

    def __call__(self, change: Change, path: str) -> bool:
        """Tell whether a change concerns the application."""
        changed = Path(path)
        if changed == self._config:
            return True
        if changed.suffix != ".py" or not super().__call__(change, path) or not changed.is_relative_to(self._folder):
            return False
        return not any(part.startswith(".") for part in changed.relative_to(self._folder).parts[:-1])


async def changes(folder: Path, config: Path | None) -> AsyncIterator[str]:
    """Yield a word for each change below ``folder`` or to ``config``, both resolved; several at once are one.

    Raises:
        OSError, RuntimeError: the system cannot watch the folder.
    """
    watched = [folder] if config is None or config.is_relative_to(folder) else [folder, config]
    async for found in awatch(*watched, watch_filter=SourceFilter(folder, config)):
        names = sorted({_shown(Path(path), folder) for _, path in found})
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{names[0]}{more}"


def _shown(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
