"""The releases that may follow each other in an upgrade."""

import pytest

from scripts.operate.versions import Step, parse, step

pytestmark = pytest.mark.requirement("OPS-9")


@pytest.mark.parametrize(
    ("present", "wanted", "expected"),
    [
        ("0.1.0", "0.1.0", Step.SAME),
        ("0.1.0.dev0", "0.1.0", Step.SAME),
        ("0.1.0", "0.1.3", Step.PATCH),
        ("0.1.9", "0.2.0", Step.MINOR),
        ("1.4.0", "1.3.2", Step.BACK),
        ("1.4.1", "1.4.0", Step.BACK),
        ("0.1.0", "0.3.0", Step.TOO_FAR),
        ("1.4.0", "1.2.0", Step.TOO_FAR),
        ("0.9.0", "1.0.0", Step.TOO_FAR),
    ],
)
def test_a_step_is_at_most_one_minor(present: str, wanted: str, expected: Step) -> None:
    before, after = parse(present), parse(wanted)

    assert before is not None
    assert after is not None
    assert step(before, after) is expected


@pytest.mark.parametrize("text", ["", "latest", "1.2", "x1.2.3"])
def test_an_invalid_release_is_not_parsed(text: str) -> None:
    assert parse(text) is None
