"""The browser for tests: Debian's Chromium, or the one named by GOVERSE_CHROMIUM.

The flags disable the sandbox, which does not work for root in a container, and all background network traffic.
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
