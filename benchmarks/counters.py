"""The measured types: a counter with plain and ``async`` methods, a sender, and counters whose states are larger."""

from datetime import timedelta

from goverse import Object, call


class Counter(Object):
    """A counter."""

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
        """Return the value."""
        return self.value


class Order(Object):
    """An object that sends reliable calls to counters."""

    placed: int = 0

    @call
    def place(self, to: str) -> int:
        """Send one call."""
        self.placed += 1
        self.send(self.ref("Counter", to).increment, by=1)
        return self.placed

    @call
    def delay(self, count: int) -> None:
        """Send calls that are not due while anything is measured."""
        later = self.sending(delay=timedelta(days=1))
        for number in range(count):
            later(self.ref("Counter", f"c{number}").increment, by=1)


class State100B(Object):
    """A counter whose state has about 100 bytes."""

    value: int = 0
    rest: str = "x" * 80

    @call
    def increment(self, by: int = 1) -> int:
        """Add to the value."""
        self.value += by
        return self.value


class State1KiB(Object):
    """A counter whose state has about 1 KiB."""

    value: int = 0
    rest: str = "x" * 1_000

    @call
    def increment(self, by: int = 1) -> int:
        """Add to the value."""
        self.value += by
        return self.value


class State16KiB(Object):
    """A counter whose state has about 16 KiB."""

    value: int = 0
    rest: str = "x" * 16_360

    @call
    def increment(self, by: int = 1) -> int:
        """Add to the value."""
        self.value += by
        return self.value
