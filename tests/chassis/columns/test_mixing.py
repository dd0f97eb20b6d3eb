import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from services.chassis.columns.mixing import mix64_kernel, warm
from services.chassis.ids import mix64


@given(st.integers(0, 2**64 - 1))
def test_the_kernel_is_mix64(value: int) -> None:
    assert int(mix64_kernel(np.uint64(value))) == mix64(value)


def test_the_kernel_is_mix64_inside_another_kernel_on_array_elements() -> None:
    @njit
    def mix_all(ids):  # type: ignore[no-untyped-def]
        out = np.empty_like(ids)
        for row in range(ids.size):
            out[row] = mix64_kernel(ids[row])
        return out

    ids = np.array([0, 1, 2**63, 2**64 - 1], dtype=np.uint64)

    assert mix_all(ids).tolist() == [mix64(int(id)) for id in ids]


def test_warm_compiles_the_uint64_kernel_once() -> None:
    warm()
    before = len(mix64_kernel.signatures)
    warm()

    assert len(mix64_kernel.signatures) == before >= 1
