"""A user is folded in as the formula says, whatever the ids, the weights and the precision."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.scorpion.factors import Factors
from services.scorpion.factors.files import Learned
from services.scorpion.factors.kernels import FOLDED_MAX
from services.scorpion.features import Signal
from tests.scorpion.factors.small import by_definition, learned, write_version

IDS = st.one_of(st.integers(1, 40), st.integers(1, 2**64 - 1))


def u64(pins: list[int]) -> NDArray[np.uint64]:
    return np.array(pins, np.uint64)


def signal(pairs: list[tuple[int, float]]) -> Signal:
    return Signal(u64([pin for pin, _ in pairs]), np.array([weight for _, weight in pairs], np.float32))


def opened(directory: Path, of: Learned, **changes: str) -> Factors:
    return Factors.open(write_version(directory, of, **changes))  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_values_are_those_of_the_published_formula(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    pins = data.draw(st.lists(IDS, min_size=1, max_size=30, unique=True))
    of = learned(pins, dim=data.draw(st.integers(1, 12)), seed=data.draw(st.integers(0, 9)))
    known = st.one_of(st.sampled_from(pins), IDS)
    told = data.draw(st.lists(st.tuples(known, st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0])), max_size=40))
    candidates = data.draw(st.lists(known, max_size=20))
    values = opened(tmp_path_factory.mktemp("f"), of).values(signal(told), u64(candidates))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, by_definition(of, told, candidates), rtol=1e-3, atol=1e-5)


def test_a_user_of_whom_no_pin_is_known_is_near_to_nothing_and_an_unknown_pin_is_unknown(
    tmp_path: Path,
) -> None:
    factors = opened(tmp_path, learned([10, 20, 30]))
    for told in ([], [(99, 1.0)], [(10, 0.0)]):
        assert factors.values(signal(told), u64([10, 30, 40])).tolist()[:2] == [0, 0]
    assert np.isnan(factors.values(signal([(10, 1.0)]), u64([0, 5, 15, 40, 2**64 - 1]))).all()


def test_what_the_user_saved_is_nearest_and_more_so_the_more_it_weighs(tmp_path: Path) -> None:
    factors = opened(tmp_path, learned(list(range(1, 200)), dim=16))
    pins = u64(list(range(1, 200)))
    light, heavy = (factors.values(signal([(7, weight)]), pins) for weight in (0.25, 1.0))
    assert int(np.argmax(heavy)) == 6
    assert light[6] < heavy[6] < 1


def test_a_candidate_has_the_same_bits_alone_and_among_others(tmp_path: Path) -> None:
    factors = opened(tmp_path, learned(list(range(1, 400)), dim=32))
    told = signal([(3, 1.0), (90, 0.5), (301, 0.25)])
    together = factors.values(told, u64(list(range(1, 400))))
    alone = np.concatenate([factors.values(told, u64([pin])) for pin in range(1, 400)])
    assert together.tobytes() == alone.tobytes()


def test_the_first_pins_that_are_known_make_the_user(tmp_path: Path) -> None:
    of = learned(list(range(1, 301)))
    factors = opened(tmp_path, of)
    told = [(pin, 1.0) for pin in [1_000, *range(300, 0, -1)]]
    newest = told[: 1 + FOLDED_MAX]
    pins = list(range(1, 301))
    values = factors.values(signal(told), u64(pins))
    assert values.tobytes() == factors.values(signal(newest), u64(pins)).tobytes()
    np.testing.assert_allclose(values, by_definition(of, newest, pins), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("size", [1.0, 1e-4], ids=["of some size", "very small"])
def test_halves_are_as_near_as_halves_can_be(tmp_path: Path, size: float) -> None:
    of = learned(list(range(1, 500)), dim=24)
    of.factors[:] *= np.float32(size)
    of.factors[3] *= np.float32(1e-4)
    told = signal([(7, 1.0), (8, 0.5)])
    pins = u64(list(range(1, 500)))
    whole, half = opened(tmp_path, of), opened(tmp_path, of, version="v2", precision="float16")
    assert sum(entry.size_bytes for entry in half.manifest.files.values()) < 0.7 * sum(
        entry.size_bytes for entry in whole.manifest.files.values()
    )
    expected = whole.values(told, pins)
    np.testing.assert_allclose(half.values(told, pins), expected, atol=2e-3 * np.abs(expected).max())


def test_ids_that_lie_close_and_ids_that_lie_far_apart_are_all_found(tmp_path: Path) -> None:
    # Runs of the index of very unequal length: a crowd at one end of the range, two far away.
    pins = [*range(1, 3_000), 2**40, 2**64 - 1]
    values = opened(tmp_path, learned(pins)).values(signal([(1, 1.0)]), u64([*pins, 3_000, 2**40 + 1]))
    assert np.isfinite(values[:-2]).all()
    assert np.isnan(values[-2:]).all()
