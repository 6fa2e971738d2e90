"""Tests of the supervisor's state machine: events and the resulting actions."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goverse_cli.dev.channel import Failed, Imported, Job, Serve, Serving, Stop, decode, encode
from goverse_cli.dev.supervision import (
    PAUSE_S,
    QUICK_DEATH_S,
    QUICK_DEATHS_MAX,
    Action,
    Finish,
    Kill,
    LetServe,
    LetStop,
    Pause,
    Say,
    Start,
    Supervision,
    TurnAway,
)


def deeds(actions: Iterator[Action]) -> list[Action]:
    """Return the actions without the log events."""
    return [action for action in actions if not isinstance(action, Say)]


def words(actions: Iterator[Action]) -> str:
    """Return the texts of the log events."""
    return "\n".join(action.event for action in actions if isinstance(action, Say))


def serving() -> Supervision:
    """Return a run whose first process has served since time 0."""
    rules = Supervision()
    assert deeds(rules.begin()) == [Start(1)]
    assert deeds(rules.imported(1)) == [LetServe(1, announce=True)]
    assert deeds(rules.serving(1, 0.0)) == []
    return rules


def test_new_code_is_imported_first_then_takes_over() -> None:
    rules = serving()

    assert deeds(rules.changed("app.py")) == [Start(2)]
    assert deeds(rules.imported(2)) == [LetStop(1)]
    assert deeds(rules.ended(1, "ended", 1.0)) == [LetServe(2, announce=False)]
    assert words(rules.serving(2, 1.1)) == "the application was reloaded"


def test_code_that_cannot_be_imported_changes_nothing() -> None:
    rules = serving()

    assert deeds(rules.changed("app.py")) == [Start(2)]
    assert "still serving the old code" in words(rules.failed(2, "SyntaxError", 2))
    assert deeds(rules.ended(2, "ended", 1.0)) == []
    assert deeds(rules.changed("app.py")) == [Start(3)]
    assert deeds(rules.imported(3)) == [LetStop(1)]


def test_a_first_import_that_no_edit_can_repair_ends_it_and_a_later_one_does_not() -> None:
    first, later = Supervision(), Supervision()
    list(first.begin())
    assert list(first.failed(1, "there is no module 'shp'", 2)) == []
    assert list(first.ended(1, "ended", 1.0)) == [Finish(2, "there is no module 'shp'")]

    list(later.begin())
    assert deeds(later.failed(1, "SyntaxError", 2, by_application=True)) == [TurnAway()]
    assert deeds(later.ended(1, "ended", 1.0)) == []
    assert deeds(later.changed("app.py")) == [Start(2)]
    assert "waiting for the next change" in words(later.failed(2, "app.py has no object types", 2))


def test_the_lines_of_a_traceback_are_details_of_what_is_said() -> None:
    rules = serving()
    list(rules.changed("app.py"))

    assert list(rules.failed(2, "app cannot be imported:\nline 1\nline 2", 2, by_application=True)) == [
        Say(
            "error",
            "app cannot be imported; still serving the old code; waiting for the next change",
            "line 1\nline 2",
        )
    ]


def test_a_change_during_a_change_starts_over() -> None:
    rules = serving()

    assert deeds(rules.changed("a.py")) == [Start(2)]
    assert deeds(rules.changed("b.py")) == [Kill(2), Start(3)]
    assert deeds(rules.imported(2)) == []
    assert deeds(rules.ended(2, "was killed", 1.0)) == []
    assert deeds(rules.imported(3)) == [LetStop(1)]


def test_a_change_during_the_switch_waits_for_it_so_that_broken_code_leaves_something_that_serves() -> None:
    rules = serving()
    list(rules.changed("a.py"))

    assert deeds(rules.imported(2)) == [LetStop(1)]
    assert deeds(rules.changed("b.py")) == []
    assert deeds(rules.ended(1, "ended", 2.0)) == [LetServe(2, announce=False), Start(3)]
    assert "still serving the old code" in words(rules.failed(3, "SyntaxError", 2))
    assert deeds(rules.ended(3, "ended", 2.1)) == []
    assert words(rules.serving(2, 2.2)) == "the application was reloaded"


def test_new_code_that_dies_during_the_switch_is_started_again() -> None:
    rules = serving()
    list(rules.changed("a.py"))
    list(rules.imported(2))

    assert deeds(rules.ended(2, "was killed", 1.0)) == []
    assert deeds(rules.ended(1, "ended", 1.1)) == [Pause(PAUSE_S)]
    assert deeds(rules.retry()) == [Start(3)]


def test_requests_are_turned_away_where_only_an_edit_can_help() -> None:
    rules = serving()
    list(rules.ended(1, "died", 1.0))
    list(rules.retry())

    assert deeds(rules.failed(2, "SyntaxError", 2)) == [TurnAway()]
    assert deeds(rules.ended(2, "ended", 1.1)) == []
    assert deeds(rules.changed("app.py")) == [Start(3)]
    assert deeds(rules.imported(3)) == [LetServe(3, announce=False)]


def test_code_that_fails_while_it_starts_leaves_nothing_served_until_the_next_change() -> None:
    rules = Supervision()
    list(rules.begin())
    list(rules.imported(1))

    failed = list(rules.failed(1, "app.open_pool (@on_start) failed", 1, by_application=True))

    assert deeds(iter(failed)) == [TurnAway()]
    assert "nothing is served; waiting for the next change" in words(iter(failed))
    assert deeds(rules.ended(1, "ended", 1.0)) == []
    assert deeds(rules.changed("app.py")) == [Start(2)]
    assert deeds(rules.imported(2)) == [LetServe(2, announce=True)]


def test_newer_code_takes_the_place_of_code_that_fails_while_it_starts() -> None:
    rules = serving()
    list(rules.changed("a.py"))
    list(rules.imported(2))
    list(rules.changed("b.py"))
    assert deeds(rules.ended(1, "ended", 2.0)) == [LetServe(2, announce=False), Start(3)]
    assert deeds(rules.imported(3)) == [LetStop(2)]

    failed = rules.failed(2, "app.open_pool (@on_start) failed", 1, by_application=True)

    assert deeds(failed) == [LetServe(3, announce=False)]


def test_a_process_that_dies_is_started_again_after_a_pause_that_grows() -> None:
    rules = serving()
    pauses: list[float] = []
    now = QUICK_DEATH_S + 1

    for number in range(1, QUICK_DEATHS_MAX + 1):
        (pause,) = deeds(rules.ended(number, "died", now))
        assert isinstance(pause, Pause)
        pauses.append(pause.seconds)
        assert deeds(rules.retry()) == [Start(number + 1)]
        assert deeds(rules.imported(number + 1)) == [LetServe(number + 1, announce=False)]
        assert deeds(rules.serving(number + 1, now)) == []

    assert pauses == [PAUSE_S * 2**step for step in range(QUICK_DEATHS_MAX)]
    assert deeds(rules.ended(QUICK_DEATHS_MAX + 1, "died", now)) == [Finish(1)]


def test_a_process_that_served_long_enough_begins_a_new_row() -> None:
    rules = serving()
    for number in range(1, 3 * QUICK_DEATHS_MAX):
        now = number * 2 * QUICK_DEATH_S
        assert deeds(rules.ended(number, "died", now)) == [Pause(PAUSE_S)]
        list(rules.retry())
        list(rules.imported(number + 1))
        assert words(rules.serving(number + 1, now)) == "the application is served again"


def test_a_change_while_nothing_runs_does_not_wait_for_the_pause() -> None:
    rules = serving()

    assert deeds(rules.ended(1, "died", 1.0)) == [Pause(PAUSE_S)]
    assert deeds(rules.changed("app.py")) == [Start(2)]
    assert deeds(rules.retry()) == []
    assert deeds(rules.imported(2)) == [LetServe(2, announce=False)]


def test_data_that_cannot_be_served_ends_it() -> None:
    rules = Supervision()
    list(rules.begin())
    list(rules.imported(1))

    assert list(rules.failed(1, "the data directory is in use", 3)) == []
    assert list(rules.ended(1, "ended", 1.0)) == [Finish(3, "the data directory is in use")]


def test_the_first_signal_drains_and_the_second_kills() -> None:
    rules = serving()

    assert deeds(rules.told_to_stop()) == [LetStop(1)]
    assert deeds(rules.changed("app.py")) == []
    assert deeds(rules.told_to_stop()) == [Kill(1)]
    assert deeds(rules.ended(1, "was killed", 1.0)) == [Finish(1)]


def test_a_signal_also_ends_a_candidate_and_a_run_without_processes() -> None:
    rules = serving()
    list(rules.changed("app.py"))
    assert deeds(rules.told_to_stop()) == [LetStop(1), Kill(2)]
    assert deeds(rules.ended(2, "was killed", 1.0)) == []
    assert deeds(rules.ended(1, "ended", 1.0)) == [Finish(0)]

    broken = Supervision()
    list(broken.begin())
    list(broken.failed(1, "SyntaxError", 2, by_application=True))
    assert deeds(broken.told_to_stop()) == [Finish(0)]


@given(st.lists(st.sampled_from(["change", "import", "fail", "serve", "end", "retry", "wait"]), max_size=60), st.data())
def test_never_two_processes_serve_and_a_signal_always_ends_it(steps: list[str], data: st.DataObject) -> None:
    rules, now = Supervision(), 0.0
    alive: dict[int, str] = {}
    finished = False

    def follow(actions: Iterator[Action]) -> None:
        nonlocal finished
        for action in actions:
            match action:
                case Start(number):
                    alive[number] = "importing"
                case LetServe(number=number):
                    assert not [n for n, state in alive.items() if state == "serving"], "two would serve"
                    alive[number] = "serving"
                case Kill(number):
                    assert number in alive
                case Finish():
                    finished = True
                case _:
                    pass

    def end(number: int) -> None:
        del alive[number]
        follow(rules.ended(number, "ended", now))

    follow(rules.begin())
    for step in steps:
        if finished:
            return
        now += 20.0 if step == "wait" else 0.1
        if step == "change":
            follow(rules.changed("app.py"))
        elif step == "retry":
            follow(rules.retry())
        elif alive and step != "wait":
            number = data.draw(st.sampled_from(sorted(alive)))
            if step == "import" and alive[number] == "importing":
                follow(rules.imported(number))
            elif step == "serve" and alive[number] == "serving":
                follow(rules.serving(number, now))
            elif step == "fail":
                follow(rules.failed(number, "cannot", 1))
                end(number)
            elif step == "end":
                end(number)
    if finished:
        return
    follow(rules.told_to_stop())
    for number in sorted(alive):
        end(number)
    assert finished


@pytest.mark.parametrize(
    "message",
    [
        Job("app.py", {"gate.port": ("--port", 0)}, None, 7),
        Serve(announce=True),
        Stop(),
        Imported(),
        Serving(),
        Failed("ä\nb", 3),
    ],
)
def test_what_is_said_arrives_as_it_was(message: Job | Serve | Stop | Imported | Serving | Failed) -> None:
    line = encode(message)

    assert line.count(b"\n") == 1
    found = decode(line)
    assert type(found) is type(message)
    if isinstance(message, Job) and isinstance(found, Job):
        assert found.target == message.target
        assert tuple(found.flags["gate.port"]) == ("--port", 0)
    else:
        assert found == message
