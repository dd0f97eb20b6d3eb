"""Shadow scoring: the share it takes, what it compares, and that it never waits."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.chassis.clock import FakeClock
from services.scorpion.shadow import Shadow, compared, drawn
from tests.scorpion.loop_metrics import LoopMetrics, SilentLog


class Summed:
    """A model that adds up a row; can fail."""

    name = "next"
    fails = False

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.fails:
            raise ValueError("no such column")
        scores: NDArray[np.float32] = matrix.sum(axis=1, dtype=np.float32)
        return scores


def shadow_of(
    loop: LoopMetrics, model: Summed | None, *, share: float = 1.0, said: SilentLog | None = None
) -> Shadow:
    return Shadow(
        lambda: model,
        share=share,
        queue_max=2,
        metrics=loop,
        clock=FakeClock(),
        log=said or SilentLog(),
    )


MATRIX = np.arange(12, dtype=np.float32).reshape(4, 3)
SERVED = np.array([3, 12, 21, 30], np.float32)


def test_a_request_is_scored_again_and_compared() -> None:
    loop = LoopMetrics()
    shadow = shadow_of(loop, Summed())
    shadow.offer("a", MATRIX, SERVED + 2)
    assert shadow.score_next()
    assert not shadow.score_next()
    assert loop.value("shadow_requests_total", model="next") == 1
    assert loop.value("shadow_difference_sum", model="next") == pytest.approx(2)
    assert loop.value("shadow_rank_correlation_sum", model="next") == pytest.approx(1)
    assert loop.value("shadow_top_overlap_sum", model="next") == 1
    assert loop.value("shadow_seconds_count", model="next") == 1


def test_the_share_is_drawn_by_the_request_id_alone_and_holds() -> None:
    ids = [f"{number:016x}" for number in range(20_000)]
    taken = [drawn(id, 0.05) for id in ids]
    assert taken == [drawn(id, 0.05) for id in ids]
    assert sum(taken) == pytest.approx(1_000, rel=0.15)
    assert all(drawn(id, 0.5) for id, small in zip(ids, taken, strict=True) if small)
    assert not any(drawn(id, 0) for id in ids)
    assert all(drawn(id, 1) for id in ids)


def test_a_request_is_drawn_only_while_there_is_a_shadow_model() -> None:
    loop = LoopMetrics()
    assert shadow_of(loop, Summed()).draws("a")
    assert not shadow_of(loop, None).draws("a")
    assert not shadow_of(loop, Summed(), share=0.0).draws("a")


def test_requests_outside_of_the_share_are_left_alone() -> None:
    loop = LoopMetrics()
    shadow = shadow_of(loop, Summed(), share=0.0)
    shadow.offer("a", MATRIX, SERVED)
    assert not shadow.score_next()
    assert loop.value("shadow_dropped_total") == 0


def test_without_a_shadow_model_nothing_is_queued_or_counted() -> None:
    loop = LoopMetrics()
    shadow = shadow_of(loop, None)
    shadow.offer("a", MATRIX, SERVED)
    assert not shadow.score_next()
    assert loop.value("shadow_dropped_total") == 0


def test_a_request_without_candidates_is_not_compared() -> None:
    shadow = shadow_of(LoopMetrics(), Summed())
    shadow.offer("a", MATRIX[:0], SERVED[:0])
    assert not shadow.score_next()


def test_what_the_queue_has_no_room_for_is_dropped_and_counted() -> None:
    loop = LoopMetrics()
    shadow = shadow_of(loop, Summed())
    for number in range(5):
        shadow.offer(str(number), MATRIX, SERVED)
    assert loop.value("shadow_dropped_total") == 3
    while shadow.score_next():
        pass
    assert loop.value("shadow_requests_total", model="next") == 2


def test_a_model_that_fails_is_counted_and_the_next_request_is_scored() -> None:
    loop, said, model = LoopMetrics(), SilentLog(), Summed()
    shadow = shadow_of(loop, model, said=said)
    model.fails = True
    shadow.offer("a", MATRIX, SERVED)
    assert shadow.score_next()
    model.fails = False
    shadow.offer("b", MATRIX, SERVED)
    assert shadow.score_next()
    assert loop.value("shadow_failures_total", model="next") == 1
    assert loop.value("shadow_requests_total", model="next") == 1
    assert [level for level, _ in said.said] == ["exception"]


def test_the_thread_scores_what_is_offered_and_ends_when_told() -> None:
    loop, done = LoopMetrics(), threading.Event()

    class Telling(Summed):
        def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
            done.set()
            return super().score(matrix)

    shadow = shadow_of(loop, Telling())
    shadow.start()
    shadow.offer("a", MATRIX, SERVED)
    assert done.wait(30)
    shadow.stop()
    assert loop.value("shadow_requests_total", model="next") == 1


def test_opposite_order_correlates_with_minus_one_and_shares_no_page() -> None:
    scores = np.arange(200, dtype=np.float32)
    comparison = compared(scores, -scores)
    assert comparison.rank_correlation == pytest.approx(-1)
    assert comparison.top_overlap == 0


def test_overlap_is_of_a_page_and_of_all_when_they_are_fewer() -> None:
    scores = np.arange(100, dtype=np.float32)
    shifted = np.roll(scores, 25)
    assert compared(scores, shifted).top_overlap == 0.5
    assert compared(scores[:10], scores[:10][::-1]).top_overlap == 1


def test_ties_share_their_mean_rank() -> None:
    """By hand: ranks 1.5 1.5 3 4 and 1 2 3 4 correlate with 4.5 / sqrt(4.5 * 5)."""
    comparison = compared(np.array([1, 1, 2, 3], np.float32), np.array([1, 2, 3, 4], np.float32))
    assert comparison.rank_correlation == pytest.approx(4.5 / np.sqrt(4.5 * 5))


def test_a_model_that_scores_all_alike_has_no_correlation() -> None:
    assert compared(SERVED, np.ones(4, np.float32)).rank_correlation is None


@settings(deadline=None)
@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=80))
def test_a_comparison_does_not_change_with_what_keeps_the_order(scores: list[float]) -> None:
    served = np.array(scores, np.float32)
    # Four times a float32 of this size is exact, so ties stay ties and no two become one.
    comparison = compared(served, served * np.float32(4))
    assert comparison.top_overlap == 1
    assert comparison.rank_correlation is None or comparison.rank_correlation == pytest.approx(1)
