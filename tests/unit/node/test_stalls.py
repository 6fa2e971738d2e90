"""A method that blocks the event loop is logged while it does."""

import logging
from itertools import count

import pytest

from goverse import Object, call
from goverse_node.stalls import watch_for_stalls
from tests.nodes import bench, code

STEPS_MAX = 200_000_000


class Busy(Object):
    @call
    def compute(self) -> None:
        self._compute()

    @call
    async def brood(self) -> None:
        self._compute()

    def _compute(self) -> None:
        for step in count():
            if told or step > STEPS_MAX:
                return


told: list[logging.LogRecord] = []


class Listener(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        told.append(record)


@pytest.mark.parametrize("method", ["compute", "brood"])
async def test_a_method_that_holds_up_the_loop_is_named_once_while_it_does(method: str) -> None:
    told.clear()
    listener, logger = Listener(), logging.getLogger("goverse.node.turn")
    logger.addHandler(listener)
    stop = watch_for_stalls(0.05)
    try:
        async with bench(Busy) as b:
            assert code(await b.call(Busy, "a", method)) == ""
    finally:
        stop()
        logger.removeHandler(listener)
    [record] = told
    assert (record.__dict__["object"], record.__dict__["method"]) == ("Busy/a", method)
    assert "test_stalls.py:" in record.__dict__["where"]
