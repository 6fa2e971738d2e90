"""Placement: the hash of a key decides its shard, is the same in every release, and follows reserved forms and tags."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from goverse.errors import MalformedRequest
from goverse.model.keys import ObjectKey, placement_hash, placement_of, shard_at, tag_of

BASE = 64

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
tags = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}"), min_size=1, max_size=40)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,15}", fullmatch=True)
powers = st.integers(0, 16).map(lambda exponent: 1 << exponent)


def key(object_id: str, type_name: str = "Order", namespace: str = "default") -> ObjectKey:
    return ObjectKey(namespace, type_name, object_id)


@pytest.mark.requirement("CLU-2")
@pytest.mark.parametrize(
    ("where", "hashed"),
    [
        (key("o1"), 0x48AFC3708009C88F),
        (key("o1", "Line"), 0x6A27C8EBF378CE21),
        (key("o1", namespace="other"), 0x3D02830291817959),
        (key("bücher/1"), 0x406823F20F3971CC),
        (key("{order-17}/line-3"), 0x86E645D53EAAB755),
        (key("{}"), 0x0875B42A539CA615),
        (key("node#n1/x"), 0x6996A5CCEBC561C1),
        (key("shard#3/x"), 3 << 58),
    ],
)
def test_the_hash_of_a_key_is_the_same_in_every_release(where: ObjectKey, hashed: int) -> None:
    assert placement_hash(where, BASE) == hashed


@pytest.mark.requirement("OBJ-3")
@given(names, tags, texts, st.text(max_size=20), st.text(max_size=20))
def test_objects_with_the_same_tag_have_the_same_hash_whatever_their_type(
    namespace: str, tag: str, type_name: str, first: str, second: str
) -> None:
    one, two = key(f"{{{tag}}}{first}", type_name, namespace), key(f"{{{tag}}}{second}", "Order", namespace)
    assert placement_hash(one, BASE) == placement_hash(two, BASE)


@pytest.mark.requirement("OBJ-3")
@given(tags, tags, names, names)
def test_another_tag_and_another_namespace_have_another_hash(one: str, two: str, here: str, there: str) -> None:
    assume(one != two)
    assume(here != there)
    hashed = placement_hash(key(f"{{{one}}}", namespace=here), BASE)
    assert hashed != placement_hash(key(f"{{{two}}}", namespace=here), BASE)
    assert hashed != placement_hash(key(f"{{{one}}}", namespace=there), BASE)
    assert hashed != placement_hash(key(one, namespace=here), BASE)


@pytest.mark.parametrize(
    ("object_id", "tag"),
    [
        ("{order-17}/line-3", "order-17"),
        ("{order-17}", "order-17"),
        ("{a}{b}", "a"),
        ("{ }x", " "),
        ("{a\nb}/x", "a\nb"),
        ("{}", None),
        ("{}/x", None),
        ("{a", None),
        ("{", None),
        ("{{a}}", None),
        ("{a{b}}", None),
        ("a{b}", None),
        ("}{a}", None),
        ("shard#3/{a}", None),
    ],
)
def test_a_tag_is_a_non_empty_text_in_braces_at_the_beginning(object_id: str, tag: str | None) -> None:
    assert tag_of(object_id) == tag


@pytest.mark.requirement("OBJ-3")
@given(texts)
def test_an_id_without_a_complete_tag_is_placed_as_a_whole(rest: str) -> None:
    for object_id in ("{}" + rest, "{" + rest.replace("}", ""), "{{" + rest + "}"):
        other = key(object_id + "+")
        assert placement_hash(key(object_id), BASE) != placement_hash(other, BASE)


@pytest.mark.requirement("OBJ-3")
@given(powers, powers, st.data())
def test_objects_of_one_numbered_shard_stay_together_under_every_count(
    base: int, count: int, data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, base - 1))
    first, second = key(f"shard#{number}/a"), key(f"shard#{number}/b", "Line", "other")
    hashed = placement_hash(first, base)
    assert hashed == placement_hash(second, base)
    assert shard_at(hashed, base) == number
    assert shard_at(hashed, count) == number * count // base  # the shard that now holds this part of all hashes


@given(powers)
def test_a_numbered_shard_that_the_cluster_was_not_created_with_is_refused(base: int) -> None:
    with pytest.raises(MalformedRequest, match=f"names shard {base}, .* use a number from 0 to {base - 1}"):
        placement_hash(key(f"shard#{base}/x"), base)


@given(texts, powers)
def test_shards_divide_and_merge_by_neighbours(object_id: str, count: int) -> None:
    assume(not object_id.startswith(("shard#", "node#")))
    hashed = placement_hash(key(object_id), BASE)
    assert 0 <= shard_at(hashed, count) < count
    assert shard_at(hashed, count) == shard_at(hashed, 2 * count) // 2
    assert placement_of(object_id) == (None, None)
