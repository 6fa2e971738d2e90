"""The smallest object that is worth something, as in the README."""

from goverse import Object, call


class Counter(Object):
    """Counts."""

    value: int = 0

    @call
    async def increment(self, by: int = 1) -> int:
        """Add to the value and return it."""
        self.value += by
        return self.value
