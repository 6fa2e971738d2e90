"""The shard table: the newest claim of a registered node is the route, and watchers are called."""

import pytest
from hypothesis import given, settings
from hypothesis.strategies import DataObject, booleans, data, dictionaries, integers, sampled_from

from goverse.cluster.member import Load
from goverse.cluster.table import Route, ShardTable
from tests.tiers import examples
from tests.unit.cluster.views import FedView

pytestmark = pytest.mark.requirement("CLU-3")


def test_claims_become_routes_and_the_higher_epoch_wins() -> None:
    view, table = FedView(), ShardTable(4)
    view.node("a")
    view.node("b")
    view.claim("a", {0: 1, 1: 5})
    view.claim("b", {1: 4, 2: 1, 99: 1})

    assert table.update(view) == {0, 1, 2}
    assert table.routes == [Route("a", 1, "a:1"), Route("a", 5, "a:1"), Route("b", 1, "b:1"), None]
    view.claim("b", {1: 6, 2: 1})
    assert table.update(view) == {1}
    assert table.route(1) == Route("b", 6, "b:1")
    view.claim("b", {})
    assert table.update(view) == {1, 2}
    assert table.route(1) == Route("a", 5, "a:1")
    assert (table.update(view), table.changes) == (set(), 3)


def test_an_unregistered_node_is_not_a_route() -> None:
    view, table = FedView(), ShardTable(2)
    view.claim("a", {0: 1})
    assert table.update(view) == set()
    view.node("a")
    assert table.update(view) == {0}
    view.remove(view.layout.node("a"))
    assert table.update(view) == {0}
    assert table.route(0) is None


def test_a_node_with_another_address_is_another_route() -> None:
    view, table = FedView(), ShardTable(2)
    view.node("a")
    view.claim("a", {0: 1})
    table.update(view)
    view.node("a", address="a:2")

    assert table.update(view) == {0}
    assert table.route(0) == Route("a", 1, "a:2")


def test_a_reload_is_followed_like_any_change() -> None:
    view, table = FedView(), ShardTable(2)
    view.node("a")
    view.claim("a", {0: 1})
    table.update(view)
    view.reload([], 50)

    assert table.update(view) == {0}
    assert table.routes == [None, None]


def test_a_change_of_another_kind_costs_nothing() -> None:
    view, table = FedView(), ShardTable(4)
    view.node("a")
    view.claim("a", {0: 1})
    assert table.update(view) == {0}
    view.write(view.layout.load("a"), Load(5, 1.0).encode())
    assert table.update(view) == set()


@settings(max_examples=examples(10))
@given(data())
def test_incremental_updates_give_the_same_table_as_a_full_rebuild(
    choices: DataObject,
) -> None:
    view, table = FedView(), ShardTable(4)
    names, epochs = sampled_from("abc"), dictionaries(integers(0, 5), integers(1, 3), max_size=4)
    for _ in range(choices.draw(integers(1, 15))):
        step, name = (
            choices.draw(sampled_from(["join", "move", "claim", "claim", "leave", "die", "reload"])),
            choices.draw(names),
        )
        if step == "join":
            view.node(name)
        elif step == "move":
            view.node(name, address=f"{name}:{choices.draw(integers(1, 3))}")
        elif step == "claim":
            view.claim(name, choices.draw(epochs))
        elif step == "leave":
            view.remove(view.layout.node(name))
        elif step == "die":
            view.die(name)
        else:
            view.forget()
        if choices.draw(booleans()):
            table.update(view)
    table.update(view)
    for shard in range(4):
        found = [
            Route(node, claims.epochs[shard], view.nodes[node].address)
            for node, claims in view.claims.items()
            if shard in claims.epochs and node in view.nodes
        ]
        assert table.route(shard) == max(found, key=lambda route: (route.epoch, route.node), default=None)
