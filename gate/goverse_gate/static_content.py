"""Static content: compressed once, with an entity tag for 304 responses.

Compressing Swagger UI's script takes 0.1 s. On the event loop this would delay all calls, so it is done once, in a
thread, for the first client that accepts gzip.
"""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

from fastapi import Request, Response

from goverse_gate.headers import matches_tag

ACCEPT_ENCODING: Final = b"accept-encoding"

_GZIP: Final = re.compile(
    rb"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[0-9.]+\s*)?(?:,|$)", re.IGNORECASE
)
_BYTES_MIN: Final = 2_048  # smaller content fits into one or two packets uncompressed


def takes_gzip(accept_encoding: bytes) -> bool:
    """True if ``Accept-Encoding`` accepts gzip."""
    return _GZIP.search(accept_encoding) is not None


class StaticContent:
    """One resource."""

    def __init__(self, body: bytes, media_type: str, headers: Mapping[str, str]) -> None:
        """Serve ``body``."""
        self.body = body
        self._media_type = media_type
        self._tag = blake2b(body, digest_size=12).hexdigest()
        self._headers = {**headers, "etag": f'"{self._tag}"', "vary": "Accept-Encoding"}
        self._compressed: asyncio.Future[bytes] | None = None

    async def answer(self, request: Request) -> Response:
        """Return the response to ``request``."""
        known = request.headers.get("if-none-match")
        if known is not None and matches_tag(known.encode("latin-1"), self._tag.encode()):
            return Response(status_code=304, headers=self._headers)
        if len(self.body) < _BYTES_MIN or not takes_gzip(request.headers.get("accept-encoding", "").encode("latin-1")):
            return Response(self.body, media_type=self._media_type, headers=self._headers)
        if self._compressed is None:
            self._compressed = asyncio.ensure_future(asyncio.to_thread(gzip.compress, self.body, mtime=0))
        compressed = await asyncio.shield(self._compressed)
        return Response(compressed, media_type=self._media_type, headers={**self._headers, "content-encoding": "gzip"})
