"""Merging hosts' answers, and one score where only some have a full one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.feedgen.candidates import Candidates, blended, merged, popular


def of(pins: list[int], light: list[float], board: int) -> Candidates:
    plain = popular(np.array(pins, np.uint64), np.array(light, np.float32))
    return replace(plain, boards=np.full(len(pins), board, np.uint64))


def test_merge_keeps_the_best_place_of_a_pin_that_two_hosts_gave() -> None:
    joined, dropped = merged([of([1, 2], [0.9, 0.5], 10), of([2, 3], [0.7, 0.6], 20)], limit=10)
    assert joined.pins.tolist() == [1, 2, 3]
    assert joined.boards.tolist() == [10, 20, 20]
    assert dropped == 1


def test_merge_does_not_depend_on_the_order_of_the_hosts() -> None:
    first, second = of([5, 1], [0.5, 0.5], 10), of([3], [0.5], 20)
    one, _ = merged([first, second], limit=2)
    other, _ = merged([second, first], limit=2)
    assert one.pins.tolist() == other.pins.tolist() == [1, 3]


def test_blend_places_unscored_candidates_where_their_light_score_stands() -> None:
    light = np.array([4, 3, 2, 1], np.float32)
    full = np.array([0, 20, 0, 10], np.float32)
    present = np.array([False, True, False, True])
    assert blended(full, present, light).tolist() == [20, 20, 10, 10]


def test_blend_without_any_full_score_is_the_light_score() -> None:
    light = np.array([2, 1], np.float32)
    assert blended(np.zeros(2, np.float32), np.zeros(2, bool), light).tolist() == [2, 1]
