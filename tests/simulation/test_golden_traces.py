"""The traces of scripted events, compared with ``testdata``. ``UPDATE_GOLDEN=1`` writes the files again."""

import os
from pathlib import Path

import pytest

from tests.simulation.stories import STORIES, trace

TESTDATA = Path(__file__).parent / "testdata"


@pytest.mark.requirement("CLU-12", "QUA-8")
@pytest.mark.parametrize("story", STORIES)
def test_a_story_has_the_trace_that_is_kept_of_it(story: str) -> None:
    found, path = trace(story), TESTDATA / f"{story}.txt"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.write_text(found)

    assert found == path.read_text(), f"the trace of {story} changed; if that is right, run with UPDATE_GOLDEN=1"


def test_every_kept_trace_belongs_to_a_story() -> None:
    assert {path.stem for path in TESTDATA.glob("*.txt")} == set(STORIES)
