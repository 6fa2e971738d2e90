"""A delete after which the defaults of the object cannot be made: it fails for good, and nothing is changed."""

import logging

import pytest
from pydantic import Field

from goverse import Object, call
from tests.nodes import bench, problem, value

BROKEN: list[bool] = []


def _made() -> int:
    if BROKEN:
        raise OSError("no entropy")
    return 1


class Account(Object, delete="anyone"):
    number: int = Field(default_factory=_made)
    total: int = 0

    def on_delete(self) -> None:
        self.total = 99

    @call
    def add(self) -> int:
        self.total += 1
        return self.total


@pytest.mark.requirement("OBJ-3", "OBJ-9")
async def test_a_delete_without_defaults_fails_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    BROKEN.clear()
    async with bench(Account) as b:
        assert value(await b.call(Account, "a", "add")) == 1
        BROKEN.append(True)
        with caplog.at_level(logging.ERROR):
            refused = [await b.delete(Account, "a") for _ in range(2)]
        assert [(problem(one).code, problem(one).retryable) for one in refused] == [("method_failed", False)] * 2
        assert problem(refused[0]).detail == "Account.on_delete: a default value could not be made: OSError"
        assert "method broke a rule" in caplog.text
        assert b.resident(Account, "a")
        assert value(await b.call(Account, "a", "add")) == 2
        BROKEN.clear()
        assert problem(await b.delete(Account, "missing")).code == "object_not_found"
        assert (await b.delete(Account, "a")).problem is None
        assert value(await b.call(Account, "a", "add")) == 1
