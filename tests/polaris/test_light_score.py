from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.polaris.light_score import LightScale

EPOCH_S = 1_760_000_000
HALF_LIFE_S = 14 * 86_400.0
SCALE = LightScale(half_life_s=HALF_LIFE_S, epoch_s=EPOCH_S)

seconds = st.integers(EPOCH_S - int(100 * HALF_LIFE_S), EPOCH_S + int(100 * HALF_LIFE_S))
qualities = st.floats(2.0**-10, 1.0, width=32)


@given(quality=qualities, saved_at=seconds, now=seconds)
def test_a_score_is_quality_decayed_by_half_lives(quality: float, saved_at: int, now: int) -> None:
    exact = quality * 2.0 ** (-(now - saved_at) / HALF_LIFE_S)
    rank = np.array([SCALE.key(quality=quality, saved_at=saved_at)], dtype=np.float64)
    score = float(SCALE.scores(ranks=rank, now_ms=now * 1000)[0])
    if 1e-30 < exact < 1e30:
        assert score == pytest.approx(exact, rel=1e-5)


@given(quality=qualities, saved_at=seconds)
def test_qualities_come_back_from_keys(quality: float, saved_at: int) -> None:
    key = np.array([SCALE.key(quality=quality, saved_at=saved_at)], dtype=np.float32)
    back = SCALE.qualities(keys=key, saved_at=np.array([saved_at], dtype=np.uint32))
    assert float(back[0]) == pytest.approx(quality, rel=5e-6)


@given(st.lists(st.tuples(qualities, seconds), max_size=20))
def test_columns_of_keys_equal_single_keys(pins: list[tuple[float, int]]) -> None:
    column = SCALE.keys(
        qualities=np.array([quality for quality, _ in pins], dtype=np.float32),
        saved_at=np.array([at for _, at in pins], dtype=np.uint32),
    )
    assert column.tolist() == [SCALE.key(quality=quality, saved_at=at) for quality, at in pins]
