"""Tools for tests: ``ObjectHost`` runs your objects without a server; the contract suites test implementations of
ports."""

from goverse.testing.faults import Delay, Fault, LostAnswer
from goverse.testing.host import ObjectHost

__all__ = ["Delay", "Fault", "LostAnswer", "ObjectHost"]
