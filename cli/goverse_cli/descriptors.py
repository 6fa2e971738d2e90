"""How many files this process may have open, of which connections may not take the last."""

from __future__ import annotations

import logging
import resource
from typing import Final

RESERVED: Final = 256  # for the store's files, for snapshots, and for connections that are being refused
TOLD_BELOW: Final = 0.95  # of the wanted connections; nobody misses a few of thousands

_log = logging.getLogger("goverse.serve")


def connections_within(wanted: int) -> int:
    """Allow this process the files for ``wanted`` connections; return for how many connections there are enough.

    A process that cannot open a file any more can neither begin a new log segment nor make a snapshot.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (OSError, ValueError):  # some systems allow less than they say
        allowed = soft
    enough = max(1, allowed - min(RESERVED, allowed // 2))
    if enough < TOLD_BELOW * wanted:
        _log.warning(
            "this process may open %d files: it serves %d connections, not %d; ulimit -n %d allows them all",
            allowed,
            enough,
            wanted,
            needed,
        )
    return min(wanted, enough)
