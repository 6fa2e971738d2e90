"""What another object refuses is raised as the exception class that its method declares."""

import pytest

from goverse import BusinessError, Object, call
from goverse.testing import TestHost

pytestmark = pytest.mark.requirement("OBJ-8")


class TicketsSoldOut(BusinessError):
    """There are no tickets."""

    status = 409
    code = "refusal_of_two_parts"


class CakesSoldOut(BusinessError):
    """There are no cakes; another part of the application with a code of the same name."""

    status = 409
    code = "refusal_of_two_parts"


class Refusing(Object):
    """Refuses in two ways that only differ by class."""

    asked: int = 0

    @call(raises=(TicketsSoldOut,))
    async def ticket(self) -> None:
        """Refuse."""
        raise TicketsSoldOut()

    @call(raises=(CakesSoldOut,))
    async def cake(self) -> None:
        """Refuse."""
        raise CakesSoldOut()


async def test_two_classes_of_one_code_are_told_apart_by_what_the_method_declares() -> None:
    async with TestHost(Refusing) as host:
        with pytest.raises(TicketsSoldOut):
            await host.ref(Refusing, "door").ticket()
        with pytest.raises(CakesSoldOut):
            await host.ref(Refusing, "door").cake()
