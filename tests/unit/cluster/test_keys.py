"""The etcd key layout: every key is parsed unambiguously, and no id can form another key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.cluster.keys import KeyKind, KeyLayout, ParsedKey
from goverse.errors import ConfigError

pytestmark = pytest.mark.requirement("CLU-1")

LAYOUT = KeyLayout("main")
NAMED = st.sampled_from([KeyKind.NODE, KeyKind.GATE, KeyKind.CLAIMS, KeyKind.DRAIN, KeyKind.LOAD])


def test_keys_follow_the_documented_layout() -> None:
    assert [LAYOUT.shards, LAYOUT.leader, LAYOUT.targets] == [
        "/goverse/main/shards",
        "/goverse/main/leader",
        "/goverse/main/targets",
    ]
    assert LAYOUT.node("n1") == "/goverse/main/nodes/n1"
    assert LAYOUT.gate("g/1") == "/goverse/main/gates/g%2F1"
    assert LAYOUT.claims("n1") == "/goverse/main/claims/n1"
    assert LAYOUT.pin(17) == "/goverse/main/pins/17"
    assert LAYOUT.drain("n1") == "/goverse/main/drains/n1"
    assert LAYOUT.load("n1") == "/goverse/main/loads/n1"


@given(NAMED, st.text(min_size=1))
def test_every_id_survives_building_and_parsing_a_key(kind: KeyKind, name: str) -> None:
    assert LAYOUT.parse(LAYOUT.key(kind, name)) == ParsedKey(kind, name)


@given(NAMED, st.text(min_size=1), NAMED, st.text(min_size=1))
def test_different_things_have_different_keys(kind: KeyKind, name: str, other: KeyKind, other_name: str) -> None:
    same = (kind, name) == (other, other_name)
    assert (LAYOUT.key(kind, name) == LAYOUT.key(other, other_name)) is same


@pytest.mark.parametrize(
    "key",
    [
        "/goverse/other/nodes/n1",
        "/goverse/main/moods/n1",
        "/goverse/main/nodes",
        "/goverse/main/nodes/",
        "/goverse/main/nodes/a/b",
        "/goverse/main/leader/n1",
        "/goverse/main/pins/x",
        "/goverse/main/pins/007",
        "/goverse/main/pins/1234567890",
        "",
    ],
)
def test_unknown_keys_are_not_parsed(key: str) -> None:
    assert LAYOUT.parse(key) is None


@pytest.mark.parametrize("name", ["", "-a", "a/b", "ä", "x" * 65])
def test_invalid_cluster_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="1 to 64"):
        KeyLayout(name)
