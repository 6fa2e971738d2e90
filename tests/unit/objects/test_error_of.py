"""Two applications may use one code; the class that the called method declares is the one that is raised."""

from __future__ import annotations

import pytest

from goverse import BusinessError
from goverse.model.frames import Problem
from goverse.objects.problems import error_of


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
def test_declared_class_comes_before_another_of_the_same_code(declared: type[BusinessError]) -> None:
    error = error_of(Problem("sold_out_twice", "none left", extra={"left": 0}, status=409), (KeyError, declared))
    assert type(error) is declared
    assert (error.detail, error.extra) == ("none left", {"left": 0})
