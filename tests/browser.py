"""The browser that tests drive: Debian's Chromium or the one in GOVERSE_CHROMIUM, silent and without a sandbox.

Tests may run as root in a container, where Chromium's sandbox cannot; it must not call home either.
"""

import os
from pathlib import Path

CHROMIUM = Path(os.environ.get("GOVERSE_CHROMIUM") or "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
