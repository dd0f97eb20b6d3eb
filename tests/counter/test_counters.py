"""Claims about declared counters."""

from __future__ import annotations

from typing import Any

import pytest

from feedmesh.type.v1 import type_pb2
from services.counter.counters import ACTIONS, CounterKind, Counters, CounterSpec, UnknownCounter


def total(name: str, **weights: float) -> CounterSpec:
    return CounterSpec(name, CounterKind.TOTAL, weights)


def decayed(name: str, **weights: float) -> CounterSpec:
    return CounterSpec(name, CounterKind.DECAYED, weights, half_life_ms=1000)


def windowed(name: str, slots: int = 4, **weights: float) -> CounterSpec:
    return CounterSpec(name, CounterKind.WINDOWED, weights, window_ms=1000, window_slots=slots)


def test_actions_are_the_numbers_of_the_proto() -> None:
    assert {f"ACTION_TYPE_{name.upper()}": number for name, number in ACTIONS.items()} == {
        name: number for name, number in type_pb2.ActionType.items() if number
    }


def test_totals_decayed_and_windowed_counters_have_columns_of_their_own() -> None:
    counters = Counters(
        [windowed("new", hide=3), decayed("hot", save=1), total("saves", save=2), total("clicks", click=1)]
    )
    assert counters.names == ("new", "hot", "saves", "clicks")
    assert counters.columns(counters.names).tolist() == [3, 2, 0, 1]
    assert counters.rules.total_weights[ACTIONS["save"]].tolist() == [2, 0]
    assert counters.rules.decayed_weights[ACTIONS["click"]].tolist() == [0]
    assert counters.rules.window_weights[ACTIONS["hide"]].tolist() == [3]
    assert counters.counted == {ACTIONS["save"], ACTIONS["click"], ACTIONS["hide"]}


def test_windows_lie_side_by_side_in_a_row_with_slots_that_never_reach_past_them() -> None:
    counters = Counters([windowed("a", slots=3, save=1), windowed("b", slots=32, save=1)])
    assert counters.rules.rings.tolist() == [[0, 3, 333], [3, 32, 31]]
    assert counters.cell_count == 35


def test_an_unknown_counter_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownCounter, match=r"'x'.*saves"):
        Counters([total("saves", save=1)]).columns(["saves", "x"])


WINDOWED: dict[str, Any] = {"kind": CounterKind.WINDOWED, "window_ms": 1000, "window_slots": 10}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param({"name": ""}, "name", id="no name"),
        pytest.param({"weights": {}}, "no action", id="counts nothing"),
        pytest.param({"weights": {"look": 1}}, "'look'", id="unknown action"),
        pytest.param({"weights": {"save": 0}}, "weight 0", id="weight 0"),
        pytest.param({"weights": {"save": 1e7}}, "up to 1000000", id="too great"),
        pytest.param({"weights": {"save": -1}}, "whole positive", id="negative total"),
        pytest.param({"weights": {"save": 0.5}}, "whole positive", id="half a total"),
        pytest.param({"half_life_ms": 5}, "no half-life", id="total with half-life"),
        pytest.param({"kind": CounterKind.DECAYED}, "needs a half-life", id="decayed without"),
        pytest.param({"window_ms": 5}, "no window", id="total with window"),
        pytest.param({"window_slots": 5}, "no window", id="total with slots"),
        pytest.param(WINDOWED | {"weights": {"save": 0.5}}, "whole positive", id="half in a window"),
        pytest.param(WINDOWED | {"weights": {"save": 1001}}, "up to 1000", id="too great for a slot"),
        pytest.param(WINDOWED | {"window_slots": 0}, "1 to 32", id="no slots"),
        pytest.param(WINDOWED | {"window_slots": 33}, "1 to 32", id="too many slots"),
        pytest.param(WINDOWED | {"window_ms": 9}, "1 ms a slot", id="window without length"),
        pytest.param(WINDOWED | {"half_life_ms": 9}, "no half-life", id="window with half-life"),
    ],
)
def test_counters_that_cannot_be_counted_are_refused(arguments: dict[str, Any], says: str) -> None:
    whole: dict[str, Any] = {"name": "n", "kind": CounterKind.TOTAL, "weights": {"save": 1}} | arguments
    with pytest.raises(ValueError, match=says):
        CounterSpec(**whole)


def test_names_must_differ_and_there_must_be_one() -> None:
    with pytest.raises(ValueError, match="different names"):
        Counters([total("a", save=1), decayed("a", save=1)])
    with pytest.raises(ValueError, match="at least one"):
        Counters([])
