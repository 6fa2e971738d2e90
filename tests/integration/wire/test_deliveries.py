"""Deliveries of reliable calls on real streams, with peers of this release and of earlier ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from goverse.limits import BODY_BYTES_MAX
from goverse.model.frames import Reply, Request
from goverse.model.keys import ObjectKey
from goverse.model.receipts import Delivery, number_of
from goverse.wire.handshake import DELIVERIES, FEATURES
from tests.gate.link import PlainLink
from tests.integration.wire.asking import ask, outcome
from tests.links import GATE, NODE, link_to, server_of

SENDER = ObjectKey("default", "Bank", "b/é")
DELIVERY = Delivery(SENDER, number_of(2**62, 9_999), number_of(7, 0), number_of(5, 1), 3, void=True, id="pay-é")


class Receiver(PlainLink):
    """A node that settles deliveries, and answers other requests without ``settled``."""

    def __init__(self) -> None:
        super().__init__()
        self.replies = self._settle

    def _settle(self, request: Request) -> Reply:
        return Reply(b"1", settled=request.delivery is not None)


@pytest.mark.requirement("DUR-3")
async def test_a_delivery_and_its_receipt_pass_and_its_body_may_be_as_large_as_that_of_a_nested_call() -> None:
    receiver = Receiver()
    async with server_of(receiver) as (_, address), link_to(address, hello=replace(NODE, id="n2")) as link:
        text = "x" * (2 * BODY_BYTES_MAX)
        settled = await ask(link, "add", arguments={"text": text}, delivery=DELIVERY)
        plain = await ask(link, "add")

    assert (settled.problem, settled.settled, plain.settled) == (None, True, False)
    assert [request.delivery for request in receiver.requests] == [DELIVERY, None]


@pytest.mark.requirement("DUR-3", "QUA-6")
@pytest.mark.parametrize("older", ["sender", "receiver"])
@pytest.mark.parametrize("connected", [True, False])
async def test_a_peer_of_an_earlier_release_gets_no_delivery(older: str, *, connected: bool) -> None:
    receiver = Receiver()
    before = FEATURES - {DELIVERIES}
    sends, receives = (before, FEATURES) if older == "sender" else (FEATURES, before)
    async with (
        server_of(receiver, hello=replace(NODE, features=receives)) as (_, address),
        link_to(address, connected=connected, hello=replace(GATE, kind="node", features=sends)) as link,
    ):
        assert outcome(await ask(link, "add", delivery=DELIVERY)) == ("unavailable", "no")
        assert (await ask(link, "add")).problem is None

    assert [request.delivery for request in receiver.requests] == [None]
