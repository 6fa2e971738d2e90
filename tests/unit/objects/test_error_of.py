"""The same code in two applications: the class that the called method declares is raised."""

from __future__ import annotations

import pytest

from goverse import BusinessError, DefinitionError, Object, call
from goverse.errors import GoverseError
from goverse.model.frames import Problem
from goverse.model.problems import error_of
from goverse.objects.registry import Registry


class SoldOutHere(BusinessError):
    """Nothing is left."""

    status = 409
    code = "sold_out_twice"


class SoldOutThere(BusinessError):
    """Nothing is left, elsewhere."""

    status = 409
    code = "sold_out_twice"


@pytest.mark.requirement("OBJ-8")
@pytest.mark.parametrize("declared", [SoldOutHere, SoldOutThere])
def test_a_declared_class_takes_precedence_over_another_with_the_same_code(declared: type[BusinessError]) -> None:
    error = error_of(Problem("sold_out_twice", "none left", extra={"left": 0}, status=409), (KeyError, declared))
    assert type(error) is declared
    assert (error.detail, error.extra) == ("none left", {"left": 0})


class Closed(BusinessError):
    """The shop is closed
    today.

    It opens again tomorrow.
    """

    status = 409
    code = "closed"


@pytest.mark.requirement("OBJ-8")
@pytest.mark.parametrize(
    ("error", "detail"),
    [(Closed(), "The shop is closed today."), (GoverseError(), "An internal error occurred in GoVerse.")],
)
def test_the_default_detail_is_the_first_paragraph_of_the_docstring(error: GoverseError, detail: str) -> None:
    assert Problem.of(error).detail == detail


@pytest.mark.requirement("OBJ-8")
def test_one_application_cannot_use_a_code_for_two_errors() -> None:
    class Shop(Object):
        @call(raises=(SoldOutHere,))
        async def buy(self) -> None: ...

    class Market(Object):
        @call(raises=(SoldOutThere,))
        async def buy(self) -> None: ...

    with pytest.raises(DefinitionError, match=r"SoldOutHere and .*SoldOutThere have the same code 'sold_out_twice'"):
        Registry([Shop, Market])


@pytest.mark.requirement("OBJ-8")
def test_a_special_case_of_an_error_may_keep_its_code() -> None:
    class SoldOutForToday(SoldOutHere):
        """Come back tomorrow."""

    class Shop(Object):
        @call(raises=(SoldOutHere, SoldOutForToday))
        async def buy(self) -> None: ...

    assert list(Registry([Shop]).types) == ["Shop"]


@pytest.mark.requirement("OBJ-8")
@pytest.mark.parametrize("code", ["unavailable", "timeout", "internal_error", "moving"])
def test_a_business_error_cannot_use_a_code_of_goverse(code: str) -> None:
    with pytest.raises(DefinitionError, match=f"'{code}', which GoVerse itself uses"):
        type("Odd", (BusinessError,), {"code": code, "status": 409})
