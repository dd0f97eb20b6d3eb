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


def test_actions_are_the_numbers_of_the_proto() -> None:
    assert {f"ACTION_TYPE_{name.upper()}": number for name, number in ACTIONS.items()} == {
        name: number for name, number in type_pb2.ActionType.items() if number
    }


def test_totals_and_decayed_counters_have_columns_of_their_own() -> None:
    counters = Counters([decayed("hot", save=1), total("saves", save=2), total("clicks", click=1)])
    assert counters.names == ("hot", "saves", "clicks")
    assert counters.columns(counters.names).tolist() == [-1, 0, 1]
    assert counters.total_weights[ACTIONS["save"]].tolist() == [2, 0]
    assert counters.decayed_weights[ACTIONS["click"]].tolist() == [0]
    assert counters.counted == {ACTIONS["save"], ACTIONS["click"]}


def test_an_unknown_counter_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownCounter, match=r"'x'.*saves"):
        Counters([total("saves", save=1)]).columns(["saves", "x"])


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
