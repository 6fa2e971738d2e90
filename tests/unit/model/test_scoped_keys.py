"""The form of an idempotency key in a store, with its slot for the subject of the caller."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from goverse.limits import IDEMPOTENCY_KEY_BYTES_MAX
from goverse.model.keys import is_derived, is_unique, router_key, router_number, scoped_key

KEYS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=IDEMPOTENCY_KEY_BYTES_MAX)
SUBJECTS = st.text(max_size=600)


@given(KEYS)
def test_without_a_subject_the_slot_is_empty(key: str) -> None:
    assert scoped_key(key, "") == key


@given(st.tuples(KEYS, SUBJECTS), st.tuples(KEYS, SUBJECTS))
def test_two_callers_never_share_a_stored_key(one: tuple[str, str], other: tuple[str, str]) -> None:
    scoped = {scoped_key(*one), scoped_key(*other)}

    assert len(scoped) == len({one, other}) or one[0].startswith("gv-")
    assert all(0 < len(each.encode()) <= IDEMPOTENCY_KEY_BYTES_MAX for each in scoped)


@given(SUBJECTS)
def test_long_keys_with_a_common_beginning_stay_apart(subject: str) -> None:
    keys = ["k" * (IDEMPOTENCY_KEY_BYTES_MAX - 1) + end for end in "ab"] + ["k" * 230, "k" * 231, "k" * 232]

    assert len({scoped_key(key, subject) for key in keys}) == len(keys)


@given(SUBJECTS.filter(bool))
def test_the_key_of_a_router_has_no_slot_and_a_scoped_key_is_none_of_a_router(subject: str) -> None:
    key = router_key("0123456789abcdef", 7)

    assert scoped_key(key, subject) == key
    scoped = scoped_key("~derived", subject)
    assert router_number(scoped) is None
    assert not is_unique(scoped)
    assert not is_derived(scoped)
