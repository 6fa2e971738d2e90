"""A model that refers to a class which does not exist is refused with the name of that class and what to do."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from goverse import DefinitionError, Object, call
from goverse.objects.spec import TypeSpec


class Open(BaseModel):
    later: Later  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore


class Returns(Object):
    @call
    async def found(self) -> Open:
        raise NotImplementedError


class Takes(Object):
    @call
    async def find(self, what: Open) -> None: ...


class Keeps(Object):
    what: Open


@pytest.mark.parametrize(("kind", "where"), [(Returns, "Returns.found"), (Takes, "Takes.find"), (Keeps, "Keeps")])
def test_a_type_that_is_not_defined_is_named(kind: type[Object], where: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        TypeSpec.of(kind)

    assert refused.value.detail.startswith(where)
    assert "a class in it refers to 'Later', which is not defined; define that" in refused.value.detail
    assert "rebuild" not in refused.value.detail
