"""Certificate files that change while a process serves: checked every few seconds, used once they are valid.

Contents are compared, not file times, so every way of replacing a file works: written in place, renamed, or swapped by
symbolic link as in Kubernetes. While files are being copied, the certificate and the key may belong to different pairs.
New contents are therefore validated only after two checks in a row have seen the same. For example, a check between the
copy of the certificate and that of the key sees a mixed pair. The next check sees other contents, and the one after
that sees them again and validates them.

Invalid contents are reported once, and the previous certificates stay in use.
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
from goverse.tls.material import Contents, Material, contents_of, moment, validate

T = TypeVar("T")

TAKEN: Final = "taken"
REFUSED: Final = "refused"

logger = logging.getLogger("goverse.tls")


class Rotating(Generic[T]):
    """A value made from a link's files, always from the newest valid ones.

    Attributes:
        files: the link's files.
        current: the value for new connections.
        material: the contents that it was made from.
        generation: how many times it was replaced.
        reloads: how many changes of the files were taken, and how many refused.
    """

    def __init__(
        self,
        files: TlsFiles,
        make: Callable[[TlsFiles, Material], T],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read the files. ``make`` may read them again; it raises ``OSError`` or ``ValueError`` if they are unusable.

        Raises:
            ConfigError: a file is invalid.
        """
        self.files = files
        self.generation = 0
        self.reloads = {TAKEN: 0, REFUSED: 0}
        self._make = make
        self._now = now
        contents = contents_of(files)
        self._taken: Contents = contents
        self._seen: Contents | str = contents
        self._validated: Contents | str = contents
        self.material = validate(files, contents, now())
        self.current = self._made(self.material)
        self._warned = ""

    def check(self) -> None:
        """Check the files once. Never raises because of their contents. May be called in a thread."""
        seen = _seen(self.files)
        settled, self._seen = seen == self._seen, seen
        if settled and seen != self._validated:
            self._validated = seen
            if seen != self._taken:
                self._take(seen)
        self._warn()

    def _take(self, seen: Contents | str) -> None:
        try:
            if isinstance(seen, str):
                raise ConfigError(seen)
            material = validate(self.files, seen, self._now())
            made = self._made(material)
        except ConfigError as error:
            self.reloads[REFUSED] += 1
            logger.error(
                "new TLS certificates rejected; still using the previous ones",
                extra={"link": self.files.link, "reason": error.detail, "expires": moment(self.material.expires)},
            )
            return
        self._taken, self.material, self.current = seen, material, made
        self.generation += 1
        self.reloads[TAKEN] += 1
        logger.info(
            "new TLS certificates in use for new connections",
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
        """Log once that the certificate is about to expire, and once that it has expired."""
        left_s, life_s = self.material.expires - self._now(), self.material.expires - self.material.begins
        if left_s > min(limits.TLS_EXPIRY_WARNING_S, life_s * limits.TLS_EXPIRY_WARNING_SHARE):
            self._warned = ""
            return
        event = "TLS certificate expires soon" if left_s > 0 else "TLS certificate has expired"
        if self._warned != event:
            self._warned = event
            level = logging.WARNING if left_s > 0 else logging.ERROR
            fields = {"link": self.files.link, "expires": moment(self.material.expires)}
            logger.log(level, event, extra=fields)


async def keep_current(links: Iterable[Rotating[Any]], look_s: float = limits.TLS_LOOK_S) -> None:
    """Check the files of these links until cancelled."""
    links = tuple(links)
    while True:
        await asyncio.sleep(look_s)
        for link in links:
            try:
                await asyncio.to_thread(link.check)  # a network volume may be slow
            except Exception:  # this task must survive: its result is not read before the process ends
                logger.exception("TLS certificates not checked", extra={"link": link.files.link})


def _seen(files: TlsFiles) -> Contents | str:
    """Return the contents of the files, or the reason why they cannot be read."""
    try:
        return contents_of(files)
    except ConfigError as error:
        return error.detail
