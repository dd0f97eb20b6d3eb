"""Claims about rows over changes of the counters."""

from __future__ import annotations

import numpy as np
import pytest

from services.chassis.errors import CorruptValue
from services.counter.counters import CounterKind, Counters, CounterSpec
from services.counter.layout import Layout, decode_layouts, encode_layouts, next_layouts, upgrade
from services.counter.table import Rows


def windowed(name: str, *, window_ms: int = 40, slots: int = 4) -> CounterSpec:
    return CounterSpec(name, CounterKind.WINDOWED, {"save": 1}, window_ms=window_ms, window_slots=slots)


def counters(totals: str, decayed: str = "", *windows: CounterSpec) -> Counters:
    specs = [CounterSpec(name, CounterKind.TOTAL, {"save": 1}) for name in totals.split()]
    specs += [CounterSpec(name, CounterKind.DECAYED, {"save": 1}, 1000) for name in decayed.split()]
    return Counters([*specs, *windows])


def layouts(*versions: Counters) -> list[Layout]:
    known: list[Layout] = []
    for version in versions:
        known = next_layouts(known, version)
    return known


def moved(known: list[Layout], totals: list[int], decayed: list[float]) -> tuple[list[int], list[float]]:
    rows = Rows(
        np.array([1], np.uint64),
        np.array([5], np.int64),
        np.array([totals], np.uint32).reshape(1, -1),
        np.array([decayed], np.float32).reshape(1, -1),
        np.empty((1, 0), np.uint16),
    )
    new = upgrade(rows, old=known[0], new=known[-1])
    return new.totals[0].tolist(), new.decayed[0].tolist()


def test_the_same_counters_make_no_new_layout() -> None:
    assert len(layouts(counters("a b", "c"), counters("a b", "c"))) == 1


def test_columns_move_by_name_and_new_ones_are_zero() -> None:
    known = layouts(counters("a b", "x y"), counters("c b a", "y"))
    assert moved(known, [1, 2], [0.5, 0.25]) == ([0, 2, 1], [0.25])


def test_a_counter_that_was_dropped_and_comes_back_starts_at_zero() -> None:
    known = layouts(counters("a b"), counters("b"), counters("a b"))
    assert moved(known, [1, 2], []) == ([0, 2], [])


def test_a_counter_of_another_kind_is_another_counter() -> None:
    known = layouts(counters("a b"), counters("b", "a"), counters("a b"))
    assert moved(known[:2], [1, 2], []) == ([2], [0])
    assert moved(known, [1, 2], []) == ([0, 2], [])


def cells_moved(old: Counters, new: Counters, cells: list[int]) -> list[int]:
    known = layouts(old, new)
    row = Rows(
        np.array([1], np.uint64),
        np.array([5], np.int64),
        np.zeros((1, old.total_count), np.uint32),
        np.zeros((1, old.decayed_count), np.float32),
        np.array([cells], np.uint16),
    )
    moved: list[int] = upgrade(row, old=known[0], new=known[-1]).cells[0].tolist()
    return moved


def test_windows_move_whole_by_name() -> None:
    a, b, c = windowed("a"), windowed("b", slots=2), windowed("c", slots=1)
    assert cells_moved(counters("", "", a, b), counters("t", "", b, c, a), [1, 2, 3, 4, 5, 6]) == [
        *(5, 6),
        *(0,),
        *(1, 2, 3, 4),
    ]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(windowed("a", slots=2), id="other slots"),
        pytest.param(windowed("a", slots=2, window_ms=20), id="other slots of the same length"),
        pytest.param(windowed("a", window_ms=80), id="another window"),
    ],
)
def test_another_window_is_another_counter(other: CounterSpec) -> None:
    moved = cells_moved(counters("", "", windowed("a")), counters("", "", other), [1, 2, 3, 4])
    assert moved == [0] * other.window_slots


def test_layouts_are_read_back() -> None:
    known = layouts(counters("a b", "x"), counters("b", "x y", windowed("w")))
    assert decode_layouts(encode_layouts(known)) == known
    assert decode_layouts(None) == []


def test_layouts_without_windows_are_stored_as_the_versions_before_them_did() -> None:
    stored = b'[{"number": 1, "columns": [{"name": "a", "kind": "total", "identity": 1}]}]'
    assert encode_layouts(layouts(counters("a"))) == stored
    assert decode_layouts(stored) == layouts(counters("a"))


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'[{"number": 1}]'])
def test_a_list_that_cannot_be_read_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptValue):
        decode_layouts(data)
