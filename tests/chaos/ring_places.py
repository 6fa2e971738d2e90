"""The application of a ring: places that pass tokens on with reliable calls, and check each one that they take.

Every place starts one token. Tokens cannot overtake each other, because each place takes them in the order in which the
place before it sent them. So the token that a place takes as its n-th one has made n hops, and was started n places
before. A lost, repeated or overtaken token is therefore noticed at once.
"""

from __future__ import annotations

from goverse import Object, call, handler

WRONG_MAX = 5


class Place(Object):
    """A place, whose id is its number.

    Attributes:
        begun: True once it has started its token.
        taken: the number of tokens that it has taken.
        wrong: the first tokens that were not the expected ones.
    """

    begun: bool = False
    taken: int = 0
    wrong: list[str] = []

    @call
    async def begin(self, places: int, hops: int) -> None:
        """Start the token of this place, unless it was started: the first token that arrives starts it as well."""
        self._begin(places, hops)

    def _begin(self, places: int, hops: int) -> None:
        if not self.begun:
            self.begun = True
            self._pass(int(self.id), 1, places, hops)

    def _pass(self, token: int, hop: int, places: int, hops: int) -> None:
        after = self.ref(Place, str((int(self.id) + 1) % places))
        self.send(after.take, token=token, hop=hop, places=places, hops=hops)

    @handler
    async def take(self, token: int, hop: int, places: int, hops: int) -> None:
        """Take a token that makes its ``hop``-th of ``hops`` hops, and pass it on."""
        self._begin(places, hops)
        self.taken += 1
        expected = (int(self.id) - self.taken) % places
        if (token, hop) != (expected, self.taken) and len(self.wrong) < WRONG_MAX:
            self.wrong.append(f"token {token} at hop {hop} instead of token {expected} at hop {self.taken}")
        if hop < hops:
            self._pass(token, hop + 1, places, hops)

    @call(readonly=True)
    async def look(self) -> tuple[int, list[str]]:
        """Return the number of tokens taken, and the wrong ones."""
        return self.taken, self.wrong
