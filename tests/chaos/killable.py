"""A ``goverse dev`` that can be started and killed quickly, many times (``tests.preloaded``)."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests import preloaded
from tests.integration.cli.processes import environment

PATIENCE_S = 60.0


class Server:
    """A server in a folder that can be started and killed many times. Its log is ``server.log`` there."""

    def __init__(self, folder: Path, port: int, *, application: str = "app.py", **settings: str) -> None:
        """Serve ``application`` with these settings, given as environment variables."""
        self._folder = folder
        self._application = application
        self._settings = settings
        self._process: preloaded.Started | None = None
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    async def start(self) -> None:
        """Start the server without waiting until it responds."""
        await asyncio.to_thread(self._start)

    def _start(self) -> None:
        command = ("goverse_cli", "dev", self._application, "--no-reload", "--port", str(self.port))
        with (self._folder / "server.log").open("ab") as log:
            self._process = preloaded.start(
                *command, cwd=self._folder, env=environment(**self._settings), stdio=(0, log, log)
            )

    async def ended(self) -> int:
        """Wait until the server ends, and return its exit code, or minus the number of a signal."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, PATIENCE_S)

    async def kill(self) -> None:
        """Kill the server, which must have been alive until then."""
        assert self._process is not None
        self._process.kill()
        assert await self.ended() == -signal.SIGKILL, "the server exited without being killed"

    async def stop(self) -> None:
        """Stop the server in an orderly way."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        assert await self.ended() == 0, "the server did not end in an orderly way"
