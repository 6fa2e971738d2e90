"""Limit on open files, and how many of them connections may use.

A process without a free file descriptor can neither start a new log segment nor write a snapshot, so some are reserved.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

RESERVED: Final = 256  # for the store's files, for snapshots, and for connections that are being refused
TOLD_BELOW: Final = 0.95  # fraction of the wanted connections; a few less of thousands are not worth a warning

_log = logging.getLogger("goverse.serve")


def connections_within(wanted: int) -> int:
    """Raise the limit on open files for ``wanted`` connections, and return the number of connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # some systems allow less than the hard limit they report
        allowed = soft
    enough = max(1, allowed - min(RESERVED, allowed // 2))
    if enough < TOLD_BELOW * wanted:
        _log.warning(
            "limit of %d open files: serving at most %d connections, not %d; raise it with ulimit -n %d",
            allowed,
            enough,
            wanted,
            needed,
        )
    return min(wanted, enough)
