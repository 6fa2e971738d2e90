"""All object types of chaos runs: the application of their nodes."""

from tests.chaos.bank import Account, Auditor, Trap
from tests.chaos.journal import Journal, Relay
from tests.chaos.till import Customer, Till

__all__ = ["Account", "Auditor", "Customer", "Journal", "Relay", "Till", "Trap"]
