"""Tools for tests: a host for your objects without a server, and the contract suites of the ports."""

from goverse.testing.faults import Delay, Fault, LostAnswer
from goverse.testing.host import ObjectHost

__all__ = ["Delay", "Fault", "LostAnswer", "ObjectHost"]
