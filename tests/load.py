"""Counters of background calls, for tests that change the system under load."""

from tests.nodes import until


class Load:
    """The number of completed calls, and the failures."""

    def __init__(self) -> None:
        self.done = 0
        self.failed: list[str] = []

    async def goes_on(self, calls: int = 20) -> None:
        """Wait until more than ``calls`` further calls have completed."""
        counted = self.done
        await until(lambda: self.done > counted + calls)
