"""Write ``goverse_client/sync.py``, the client without ``async``, from ``goverse_client/client.py``.

    python openapi/python/make_sync.py

Both drive the same exchange; what differs is spelled out here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parent / "goverse_client"
_WORDS: Final = (
    (
        "The client for programs with ``async``.",
        "The client for programs without ``async``; written by ``make_sync.py``.",
    ),
    (
        "Use it as ``async with``, or call ``aclose``. It may serve any number of tasks",
        "Use it as ``with``, or call ``close``. It may serve any number of threads",
    ),
    ("async with GoVerse(", "with GoVerseSync("),
    ("async with", "with"),
    ("async for", "for"),
    ("async def", "def"),
    ('for summary in page["items"]:\n                yield summary', 'yield from page["items"]'),
    ("await ", ""),
    ("AsyncIterator", "Iterator"),
    ("__aenter__", "__enter__"),
    ("__aexit__", "__exit__"),
    ("aclose", "close"),
    ("httpx.AsyncClient", "httpx.Client"),
    ("pause_async", "pause_sync"),
    ("send_async", "send_sync"),
)
_NAMES: Final = {
    "Client": "ClientSync",
    "Handle": "HandleSync",
    "ObjectHandle": "ObjectHandleSync",
    "GoVerse": "GoVerseSync",
}


def synchronous(source: str) -> str:
    """Return what the client without ``async`` looks like."""
    for before, after in _WORDS:
        source = source.replace(before, after)
    return re.sub(r"(?<![.\w])(Client|Handle|ObjectHandle|GoVerse)\b", lambda found: _NAMES[found[0]], source)


if __name__ == "__main__":
    text = synchronous((PACKAGE / "client.py").read_text(encoding="utf-8"))
    (PACKAGE / "sync.py").write_text(text, encoding="utf-8")
