"""What calls under way came to, for tests that change something beneath them."""

from tests.nodes import until


class Load:
    """Calls that came back, and those that failed."""

    def __init__(self) -> None:
        self.done = 0
        self.failed: list[str] = []

    async def goes_on(self, calls: int = 20) -> None:
        """Wait until so many more came back."""
        counted = self.done
        await until(lambda: self.done > counted + calls)
