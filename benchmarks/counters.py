"""The objects that are measured: the same counter, written with plain and with ``async`` methods."""

from goverse import Object, call


class Counter(Object):
    """Counts."""

    value: int = 0

    @call
    def increment(self, by: int = 1) -> int:
        """Add to the value."""
        self.value += by
        return self.value

    @call
    async def increment_async(self, by: int = 1) -> int:
        """Add to the value, in a coroutine."""
        self.value += by
        return self.value

    @call(readonly=True)
    def peek(self) -> int:
        """Tell the value."""
        return self.value
