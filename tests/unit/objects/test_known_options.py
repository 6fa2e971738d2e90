"""An unknown option is refused where it is written, with the nearest option and the list of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from goverse import DefinitionError, Object, call, field, handler

LOOSE: dict[str, Callable[..., Any]] = {"@call": call, "@handler": handler, "field()": field}


@pytest.mark.parametrize(
    ("name", "option", "hint"),
    [
        ("@call", "read_only", "did you mean 'readonly'? Its options are readonly, reentrant, timeout_s, raises"),
        ("@handler", "tool", "its options are readonly, reentrant, timeout_s, raises"),
        ("field()", "hiden", "did you mean 'hidden'? Its options are default, default_factory, hidden"),
    ],
)
def test_an_unknown_option_of_a_declaration_is_a_definition_error(name: str, option: str, hint: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        LOOSE[name](**{option: True})

    assert refused.value.detail == f"{name} has no option {option!r}; {hint}"


def test_an_unknown_option_of_sending_is_a_type_error() -> None:
    sending: Callable[..., Any] = Object.sending
    with pytest.raises(TypeError, match=r"self\.sending has no option 'retries'; its options are then, delay,"):
        sending(object(), retries=3)
