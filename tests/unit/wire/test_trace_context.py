"""W3C trace context: what is valid, what is dropped, and the spans of sampled calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse.limits import TRACESTATE_BYTES_MAX
from goverse.model.trace_context import NO_TRACE, bounded_tracestate, checked, child_of, is_sampled, span_id, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_valid_context_stays_as_it_is() -> None:
    assert checked(GOOD, "congo=t61rcWkgMzE,rojo=00f0") == (GOOD, "congo=t61rcWkgMzE,rojo=00f0")
    assert checked(GOOD, "") == (GOOD, "")


@pytest.mark.parametrize(
    "bad",
    ["", "x", GOOD.upper(), GOOD[:-1], "ff" + GOOD[2:], f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", "é"],
)
def test_an_invalid_traceparent_is_dropped_with_its_tracestate(bad: str) -> None:
    assert checked(bad, "congo=1") == NO_TRACE


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("a=1 ,\tb=2", "a=1,b=2"),
        ("a=1,, ,b=2,", "a=1,b=2"),
        (" , ", ""),
        ("0tenant@sys-tem_1*/x=a b!", "0tenant@sys-tem_1*/x=a b!"),
        ("k" * 256 + "=v", "k" * 256 + "=v"),
        (",".join(f"k{n}=v" for n in range(32)), ",".join(f"k{n}=v" for n in range(32))),
    ],
)
def test_a_tracestate_of_the_grammar_is_kept(value: str, kept: str) -> None:
    assert bounded_tracestate(value) == kept


@pytest.mark.parametrize(
    "value",
    [
        "a",
        "a=",
        "=1",
        "A=1",
        "_a=1",
        "a=1=2",
        "a=b;é",
        "a b=1",
        "a=1\x00",
        "a=1,a=2",
        "k" * 257 + "=v",
        "k=" + "v" * 257,
        ",".join(f"k{n}=v" for n in range(33)),
    ],
)
def test_a_tracestate_that_breaks_the_grammar_is_dropped_alone(value: str) -> None:
    assert checked(GOOD, value) == (GOOD, "")


def test_a_large_tracestate_loses_its_largest_members_first_and_then_the_last_ones() -> None:
    small = [f"s{n}={'v' * 60}" for n in range(6)]  # 63 bytes each
    large = f"large={'v' * 123}"

    assert bounded_tracestate(",".join([small[0], large, *small[1:]])) == ",".join(small)
    assert bounded_tracestate(",".join([*small[:3], large])) == ",".join([*small[:3], large])
    many = [f"s{n:02}={'v' * 60}" for n in range(20)]
    assert bounded_tracestate(",".join(many)) == ",".join(many[:7])


members = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,20}=[!-+]{1,200}", fullmatch=True), max_size=40)


@given(members)
def test_a_tracestate_is_bounded_and_keeps_the_order_of_its_members(parts: list[str]) -> None:
    kept = bounded_tracestate(",".join(parts))

    assert len(kept) <= TRACESTATE_BYTES_MAX
    rest = iter(parts)
    assert all(member in rest for member in kept.split(",") if member)


def test_a_child_has_the_trace_of_its_parent_and_a_span_of_its_own() -> None:
    children = [child_of(GOOD) for _ in range(100)]

    assert {trace_id(child) for child in children} == {TRACE}
    assert len({span_id(child) for child in children} | {SPAN}) == 101
    assert all(checked(child, "") == (child, "") and is_sampled(child) for child in children)


@pytest.mark.parametrize(("flags", "sent"), [("01", "01"), ("03", "03"), ("ff", "03"), ("05", "01")])
def test_a_child_keeps_the_known_flags(flags: str, sent: str) -> None:
    assert child_of(f"00-{TRACE}-{SPAN}-{flags}")[-2:] == sent


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("0b", True)])
def test_the_last_bit_of_the_flags_says_whether_a_trace_is_sampled(flags: str, sampled: bool) -> None:
    assert is_sampled(f"00-{TRACE}-{SPAN}-{flags}") is sampled
    assert not is_sampled("")
