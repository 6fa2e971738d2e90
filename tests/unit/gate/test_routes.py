"""Errors for unknown types and methods suggest similar names."""

from __future__ import annotations

import pytest

from goverse import AccessDenied, Object, UnknownMethod, UnknownType, call, handler
from goverse.objects.describe import describe
from goverse.objects.registry import Registry
from goverse_gate.metrics import GateMetrics
from goverse_gate.routes import Routes


class Vault(Object):
    @call
    async def balance(self) -> int:
        return 0

    @handler
    async def deposit(self, cents: int) -> None: ...


@pytest.fixture
def routes() -> Routes:
    catalog = describe(Registry([Vault]))
    return Routes(catalog, GateMetrics(catalog), 30.0)


@pytest.mark.requirement("OBJ-14")
@pytest.mark.parametrize(
    ("segment", "hint"),
    [
        (b"balanse", "'balanse'; did you mean 'balance'? It has balance"),
        (b"Balance", "'Balance'; did you mean 'balance'? It has balance"),
        (b"depositt", "'depositt'; it has balance"),
        (b"b" * 500, "; it has balance"),
        (b"\xff\xfe", "; it has balance"),
    ],
)
def test_a_mistyped_method_is_answered_with_the_near_name_and_never_with_a_handler(
    routes: Routes, segment: bytes, hint: str
) -> None:
    with pytest.raises(UnknownMethod) as refused:
        routes.type(b"Vault").method(segment)

    assert refused.value.detail.startswith("Vault exports no method ")
    assert refused.value.detail.endswith(hint)


@pytest.mark.requirement("OBJ-14")
def test_a_mistyped_type_is_answered_with_the_near_name(routes: Routes) -> None:
    with pytest.raises(UnknownType) as refused:
        routes.type(b"vault")
    assert refused.value.detail.endswith("'vault'; did you mean 'Vault'? This application has Vault")
    with pytest.raises(AccessDenied):
        routes.type(b"Vault").method(b"deposit")
