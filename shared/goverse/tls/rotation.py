"""Files that change under a process that serves: looked at every few seconds, taken when they are in order.

Contents are compared, not times, so it does not matter how they came: written in place, renamed, or by the swap of a
symbolic link as Kubernetes does it. New contents are judged once two looks in a row saw the same, because a pair that
is being copied is for a moment the certificate of one and the key of the other. What is not in order is told once, and
what was there before stays.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from goverse import limits
from goverse.errors import ConfigError
from goverse.tls.files import TlsFiles
from goverse.tls.material import Contents, Material, contents_of, judge, moment

T = TypeVar("T")

TAKEN: Final = "taken"
REFUSED: Final = "refused"

logger = logging.getLogger("goverse.tls")


class Rotating(Generic[T]):
    """What is made of a link's files, always of the newest that were in order.

    Attributes:
        files: where they are.
        current: what new connections use.
        material: what it was made of.
        generation: how often it was replaced.
        reloads: how many changes of the files were taken, and how many refused.
    """

    def __init__(
        self,
        files: TlsFiles,
        make: Callable[[TlsFiles, Material], T],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read the files; ``make`` may read them again, and raises ``OSError`` or ``ValueError`` if they will not do.

        Raises:
            ConfigError: something is wrong with them.
        """
        self.files = files
        self.generation = 0
        self.reloads = {TAKEN: 0, REFUSED: 0}
        self._make = make
        self._now = now
        contents = contents_of(files)
        self._taken: Contents = contents
        self._seen: Contents | str = contents
        self._judged: Contents | str = contents
        self.material = judge(files, contents, now())
        self.current = self._made(self.material)
        self._warned = ""

    def look(self) -> None:
        """Look at the files once; never raises because of what is in them. Safe in a thread."""
        seen = _seen(self.files)
        settled, self._seen = seen == self._seen, seen
        if settled and seen != self._judged:
            self._judged = seen
            if seen != self._taken:
                self._take(seen)
        self._warn()

    def _take(self, seen: Contents | str) -> None:
        try:
            if isinstance(seen, str):
                raise ConfigError(seen)
            material = judge(self.files, seen, self._now())
            made = self._made(material)
        except ConfigError as error:
            self.reloads[REFUSED] += 1
            logger.error(
                "new certificates are of no use; those from before stay",
                extra={"link": self.files.link, "reason": error.detail, "expires": moment(self.material.expires)},
            )
            return
        self._taken, self.material, self.current = seen, material, made
        self.generation += 1
        self.reloads[TAKEN] += 1
        logger.info(
            "new certificates are used for new connections",
            extra={"link": self.files.link, "expires": moment(material.expires)},
        )

    def _made(self, material: Material) -> T:
        try:
            return self._make(self.files, material)
        except (OSError, ValueError) as error:
            where = self.files.cert or self.files.ca
            complaint = f"cannot be used: {error}"
            raise where.wrong(complaint) if where else ConfigError(complaint) from error

    def _warn(self) -> None:
        """Say once that the certificate ends soon, and once that it ended."""
        left_s, life_s = self.material.expires - self._now(), self.material.expires - self.material.begins
        if left_s > min(limits.TLS_EXPIRY_WARNING_S, life_s * limits.TLS_EXPIRY_WARNING_SHARE):
            self._warned = ""
            return
        event = "a certificate expires soon" if left_s > 0 else "a certificate has expired"
        if self._warned != event:
            self._warned = event
            level = logging.WARNING if left_s > 0 else logging.ERROR
            told = {"link": self.files.link, "expires": moment(self.material.expires)}
            logger.log(level, event, extra=told)


async def keep_current(links: Iterable[Rotating[Any]], look_s: float = limits.TLS_LOOK_S) -> None:
    """Look at the files of these links until cancelled."""
    links = tuple(links)
    while True:
        await asyncio.sleep(look_s)
        for link in links:
            try:
                await asyncio.to_thread(link.look)  # a volume may take its time
            except Exception:  # nobody looks at this task before the process ends
                logger.exception("certificates could not be looked at", extra={"link": link.files.link})


def _seen(files: TlsFiles) -> Contents | str:
    """Return what the files hold, or why that cannot be told."""
    try:
        return contents_of(files)
    except ConfigError as error:
        return error.detail
