"""The comparison of shown output with printed output."""

import pytest

from tests.docs.expectation import has_appeared, matches


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        (["2"], "2", True),
        (["2"], "2\n", True),
        (["2", ""], "\n2  \n\n", True),
        (["2"], "22", False),
        (["2"], "2\n3", False),
        (["2", "3"], "2\n3\n", True),
        (["a.c"], "abc", False),
        (["id ... ok"], "id 7f3a ok", True),
        (["id ... ok"], "id 7f\n3a ok", False),
        (["..."], "", True),
        (["...", "end"], "end", True),
        (["...", "end"], "one\ntwo\nend", True),
        (["...", "end"], "one\nend\nmore", False),
        (["first", "...", "last"], "first\nlast", True),
        (["first", "..."], "first\na\nb", True),
        (["first", "..."], "other\na\nb", False),
    ],
)
def test_output_is_compared_as_a_reader_would(expected: list[str], printed: str, *, same: bool) -> None:
    assert matches(expected, printed) is same


@pytest.mark.parametrize(
    ("expected", "printed", "appeared"),
    [
        (["...", "ready on ..."], "", False),
        (["...", "ready on ..."], "starting\n", False),
        (["...", "ready on ..."], "starting\nready on 8000\nGET /\n", True),
        (["ready"], "ready\nmore\n", True),
        (["ready"], "not ready\n", False),
    ],
)
def test_readiness_is_seen_in_output_that_still_grows(expected: list[str], printed: str, *, appeared: bool) -> None:
    assert has_appeared(expected, printed) is appeared
