"""Entropy: the source of all random choices of a node, such as generated ids and waiting times.

A node takes its source when it is created. A simulated node gets one with a seed, so that a run can be repeated.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

Entropy = Callable[[int], bytes]
"""Return as many random bytes as the argument says."""

SYSTEM_ENTROPY: Final[Entropy] = os.urandom
