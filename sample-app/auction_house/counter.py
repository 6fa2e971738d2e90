"""The smallest useful object, as in the README."""

from goverse import Object, call


class Counter(Object):
    """A counter."""

    value: int = 0

    @call
    async def increment(self, by: int = 1) -> int:
        """Add to the value and return it."""
        self.value += by
        return self.value
