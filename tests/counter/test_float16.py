"""Claims about rounding to float16 in a kernel."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from services.counter.float16_kernels import float16_bits


@njit
def rounded(values: Any, out: Any) -> None:
    for i in range(len(values)):
        out[i] = float16_bits(values[i])


def test_bits_are_those_of_numpy_at_every_float16_beside_it_and_half_way() -> None:
    exact = np.arange(0, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    half_way = (exact[:-1] + exact[1:]) / 2
    values = np.concatenate([exact, half_way])
    beside = (np.nextafter(values, np.float32(up)) for up in (0, np.inf))
    spread = np.arange(0, 0x47800000, 4_099, dtype=np.uint32).view(np.float32)
    values = np.concatenate([values, *beside, spread])
    out = np.empty(len(values), np.uint16)
    rounded(values, out)
    expected = np.minimum(values, np.float32(65_504)).astype(np.float16)
    np.testing.assert_array_equal(out, expected.view(np.uint16))


def test_what_is_too_great_is_clipped() -> None:
    values = np.array([65_504, 65_520, 2**32, np.inf], np.float32)
    out = np.empty(len(values), np.uint16)
    rounded(values, out)
    assert out.view(np.float16).tolist() == [65_504] * 4
