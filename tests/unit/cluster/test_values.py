"""The codecs of etcd values: round trips, sizes, and rejection of damaged values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.cluster.claims import Claims
from goverse.cluster.member import Load, Member, MemberState
from goverse.cluster.shard_count import ShardCount
from goverse.cluster.targets import Targets
from goverse.errors import DataDamaged, DataNewer
from goverse.limits import CLUSTER_SHARDS_MAX, EPOCH_MAX

pytestmark = pytest.mark.requirement("CLU-1", "CLU-2")

NODES = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=5)
ETCD_VALUE_BYTES = 1_500_000

GOLDEN_TARGETS = bytes.fromhex("01 05 02 026e31 026e32 01 0100020201")
GOLDEN_CLAIMS = bytes.fromhex("01 036e2e31 03 8402 01 0007ff 02 0000 0100 2c01")


@st.composite
def targets(draw: st.DrawFn) -> Targets:
    nodes = draw(NODES)
    return Targets(nodes, draw(st.lists(st.integers(0, len(nodes)), max_size=50)))


CLAIMS = st.builds(
    Claims,
    st.text(max_size=20),
    st.dictionaries(st.integers(0, CLUSTER_SHARDS_MAX - 1), st.integers(1, EPOCH_MAX), max_size=50),
)


@given(st.integers(1, CLUSTER_SHARDS_MAX), st.none() | st.integers(1, CLUSTER_SHARDS_MAX))
def test_a_shard_count_survives_encoding(count: int, base: int | None) -> None:
    assert ShardCount.decode(ShardCount(count, base).encode()) == ShardCount(count, base)


def test_a_shard_count_is_one_number_or_two_with_a_slash() -> None:
    assert ShardCount.decode(b"128/64") == ShardCount(128, 64)
    assert ShardCount.decode(b"128") == ShardCount(128, None)
    for value in (b"", b"x", b"0", b"64/", b"/64", b"64/0", b"-1", b"64/64/64", b"1234567890", b"64 "):
        with pytest.raises(DataDamaged):
            ShardCount.decode(value)


@given(targets())
def test_targets_survive_encoding(value: Targets) -> None:
    again = Targets.decode(value.encode())

    assert again == value
    assert hash(again) == hash(value)
    for node in value.nodes:
        assert again.shards_of(node) == {shard for shard in range(len(value)) if value.owner(shard) == node}


@given(CLAIMS)
def test_claims_survive_encoding(value: Claims) -> None:
    assert Claims.decode(value.encode()) == value


def test_values_of_this_release_stay_readable() -> None:
    written = Targets.of(["n1", None, "n2", "n2", "n1"])
    claims = Claims("n.1", {0: 260, 7: 261, 255: 560})

    assert written.encode() == GOLDEN_TARGETS
    assert Targets.decode(GOLDEN_TARGETS) == written
    assert claims.encode() == GOLDEN_CLAIMS
    assert Claims.decode(GOLDEN_CLAIMS) == claims


@pytest.mark.parametrize(("shards", "bytes_max"), [(8_192, 80_000), (CLUSTER_SHARDS_MAX, 320_000)])
def test_a_value_with_all_shards_is_far_below_etcds_limit(shards: int, bytes_max: int) -> None:
    nodes = [f"goverse-node-{number}.goverse.default.svc" for number in range(1_000)]
    many = Targets(nodes, [1 + shard % len(nodes) for shard in range(shards)])
    one = Claims("goverse-node-0.1", {shard: 1_000_000 + shard * 7 % 50_000 for shard in range(shards)})

    assert len(many.encode()) < bytes_max < ETCD_VALUE_BYTES
    assert len(one.encode()) < bytes_max
    assert Claims.decode(one.encode()) == one


@given(st.binary(max_size=80))
def test_random_bytes_decode_to_a_value_or_raise_data_damaged(value: bytes) -> None:
    for read in (Targets.decode, Claims.decode, Member.decode, Load.decode):
        try:
            found = read(value)
        except (DataDamaged, DataNewer):
            continue
        assert read(found.encode()) == found


@given(targets(), st.data())
def test_a_changed_or_truncated_value_never_decodes_to_an_impossible_one(value: Targets, data: st.DataObject) -> None:
    encoded = bytearray(value.encode())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] = data.draw(st.integers(0, 255))
    cut = encoded[: data.draw(st.integers(0, len(encoded)))]
    for one in (bytes(encoded), bytes(cut)):
        try:
            found = Targets.decode(one)
        except (DataDamaged, DataNewer):
            continue
        assert all(owner is None or owner in found.nodes for owner in found.owners())


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "too early"),
        (b"\x00\x00\x00\x01", "unknown format 0"),
        (GOLDEN_TARGETS[:-1], "too early"),
        (GOLDEN_TARGETS + b"\x00", "left over"),
        (bytes.fromhex("01 01 00 01 01"), "unknown node"),
        (bytes.fromhex("01 00 02 0161 0161 01"), "listed twice"),
        (bytes.fromhex("01 00 01 01ff 01"), "not UTF-8"),
        (bytes.fromhex("01 01 00 03 00"), "3 is not a valid column width"),
        (bytes.fromhex("01 8000 00 01"), "longer than necessary"),
        (bytes.fromhex("01 818004 00 01"), "65537 shards"),
        (bytes.fromhex("01 00 7f 01"), "too short for 127 nodes"),
        (b"\x01" + b"\xff" * 12, "too many bytes"),
    ],
)
def test_damaged_targets_say_what_is_wrong(value: bytes, why: str) -> None:
    with pytest.raises(DataDamaged, match=why):
        Targets.decode(value)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"\x00", "unknown format 0"),
        (bytes.fromhex("01 00 02 01 01 0505 01 0000"), "ascending"),
        (bytes.fromhex("01 00 01 01 04 00000100 01 00"), "shard 65536 is out of range"),
        (bytes.fromhex("01 00 01 00 01 05 08 ffffffffffffffff"), "out of range"),
    ],
)
def test_damaged_claims_say_what_is_wrong(value: bytes, why: str) -> None:
    with pytest.raises(DataDamaged, match=why):
        Claims.decode(value)


def test_a_newer_format_is_not_reported_as_damage() -> None:
    for read in (Targets.decode, Claims.decode):
        with pytest.raises(DataNewer, match="format 2"):
            read(b"\x02 whatever")


# --- members and loads ------------------------------------------------------------------------------------------------


def test_members_and_loads_survive_encoding() -> None:
    member = Member("n1", "10.0.0.1:7000", "n1.7", "0.1.0", (1, 3), 2.5, MemberState.DRAINING)
    load = Load(1000, 12.5, 0.5, 0.25, {7: 3.5, 8191: 1.0})

    assert Member.decode(member.encode()) == member
    assert Load.decode(load.encode()) == load


def test_members_of_a_newer_release_are_read_as_far_as_possible() -> None:
    newer = Member("n1", "a:1", "i").encode().replace(b'"serving"', b'"hibernating"').replace(b"{", b'{"moods":[1],', 1)

    assert Member.decode(newer) == Member("n1", "a:1", "i")


@pytest.mark.parametrize(
    "change",
    [
        (b'"id":"n1"', b'"id":1'),
        (b'"weight":1.0', b'"weight":0'),
        (b'"weight":1.0', b'"weight":NaN'),
        (b'"weight":1.0', b'"weight":true'),
        (b'"weight":1.0', b'"weight":1' + b"0" * 400),
        (b'"wire":[1,1]', b'"wire":[2,1]'),
        (b'"state":"serving"', b'"state":7'),
        (b'"address":"a:1",', b""),
    ],
)
def test_a_member_without_a_required_field_is_damage(change: tuple[bytes, bytes]) -> None:
    encoded = Member("n1", "a:1", "i").encode()
    assert change[0] in encoded

    with pytest.raises(DataDamaged):
        Member.decode(encoded.replace(*change))


@pytest.mark.parametrize("busiest", [b"[]", b'{"x":1}', b'{"-1":1}', b'{"1":-1}', b'{"1":"2"}', b'{"1234567890":1}'])
def test_a_load_with_impossible_figures_is_damage(busiest: bytes) -> None:
    encoded = Load().encode()

    with pytest.raises(DataDamaged):
        Load.decode(encoded.replace(b"{}", busiest))
