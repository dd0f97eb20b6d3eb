"""What a declaration may say."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from feedmesh.type.v1 import type_pb2
from services.realpin.declaration import ActionType, SignalConfig, default_signals
from services.realpin.signals import SignalSet

DECAYED: dict[str, object] = {"kind": "decayed", "of": "pin", "weights": {"save": 1}}


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"kind": "windowed", "of": "pin"}, id="windowed of something else than actions"),
        pytest.param({"kind": "last", "of": "action", "weights": {"save": 1}}, id="last of actions"),
        pytest.param({"kind": "last", "of": "pin"}, id="no action named"),
        pytest.param({"kind": "last", "of": "pin", "weights": {"stare": 1}}, id="unknown action"),
        pytest.param(
            {"kind": "decayed", "of": "pin", "weights": {"served": 1}}, id="shown feeds a decayed signal"
        ),
        pytest.param({"kind": "windowed", "of": "action", "weights": {"save": 2}}, id="a weighted count"),
        pytest.param(
            {"kind": "decayed", "of": "pin", "weights": {"save": 1}, "half_life_hours": 0},
            id="half-life of 0",
        ),
        pytest.param(
            {"kind": "decayed", "of": "pin", "weights": {"save": float("nan")}}, id="a weight of NaN"
        ),
    ],
)
def test_a_declaration_that_could_never_be_right_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SignalConfig(name="s", **fields)  # type: ignore[arg-type]


def test_action_types_are_those_of_the_contract() -> None:
    contract = {
        name.removeprefix("ACTION_TYPE_"): number for name, number in type_pb2.ActionType.items() if number
    }
    assert contract == {action.name: action.value for action in ActionType}


def test_the_default_declaration_feeds_every_kind() -> None:
    assert {signal.kind for signal in default_signals()} == {"last", "decayed", "windowed"}


def test_two_signals_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        SignalSet.from_config([default_signals()[0], default_signals()[0]])
