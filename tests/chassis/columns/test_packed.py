from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.chassis.columns import packed
from services.chassis.columns.packed import check_equal_lengths, pack_f16, pack_u64, unpack_u32, unpack_u64
from services.chassis.errors import InvalidColumns

KINDS = {
    "u64": ("<u8", packed.pack_u64, packed.unpack_u64),
    "u32": ("<u4", packed.pack_u32, packed.unpack_u32),
    "u16": ("<u2", packed.pack_u16, packed.unpack_u16),
    "u8": ("|u1", packed.pack_u8, packed.unpack_u8),
    "i64": ("<i8", packed.pack_i64, packed.unpack_i64),
    "f32": ("<f4", packed.pack_f32, packed.unpack_f32),
    "f16": ("<f2", packed.pack_f16, packed.unpack_f16),
}
Pack = Callable[[Any], bytes]
Unpack = Callable[..., Any]


@pytest.mark.parametrize(("dtype", "pack", "unpack"), KINDS.values(), ids=KINDS)
@given(data=st.data())
def test_a_column_comes_back_bit_for_bit(dtype: str, pack: Pack, unpack: Unpack, data: st.DataObject) -> None:
    values = data.draw(hnp.arrays(np.dtype(dtype), st.integers(0, 40)))

    packed_values = pack(values)
    read = unpack(packed_values)

    assert len(packed_values) == values.size * values.itemsize
    assert read.dtype == values.dtype
    assert read.tobytes() == values.tobytes()  # NaN payloads too


@pytest.mark.parametrize(("dtype", "pack", "unpack"), KINDS.values(), ids=KINDS)
def test_an_unpacked_column_is_read_only(dtype: str, pack: Pack, unpack: Unpack) -> None:
    for data in (b"", bytes(16), bytearray(16)):
        column = unpack(data)
        assert not column.flags.writeable
        assert column.size == len(data) // np.dtype(dtype).itemsize


def test_bytes_are_little_endian_whatever_the_array() -> None:
    assert pack_u64([1]) == b"\x01" + bytes(7)
    assert pack_u64(np.array([1], dtype=">u8")) == b"\x01" + bytes(7)
    assert pack_u64(np.arange(10, dtype=np.uint64)[::3]) == pack_u64([0, 3, 6, 9])


def test_unpacking_copies_nothing() -> None:
    data = pack_u64([7, 8])

    assert np.shares_memory(unpack_u64(data), np.frombuffer(data, dtype=np.uint8))


def test_a_misaligned_slice_is_copied_so_that_kernels_see_one_type() -> None:
    whole = b"\x00" + pack_u64([7, 8])

    column = unpack_u64(memoryview(whole)[1:])

    assert column.tolist() == [7, 8]
    assert column.flags.aligned


@pytest.mark.parametrize("size", [1, 7, 9, 15])
def test_a_ragged_length_is_refused_and_names_the_field(size: int) -> None:
    with pytest.raises(InvalidColumns, match="pins has") as caught:
        unpack_u64(bytes(size), field="pins")
    assert caught.value.facts["field"] == "pins"


def test_packing_refuses_a_cast_that_changes_values() -> None:
    with pytest.raises(TypeError):
        pack_u64(np.array([-1], dtype=np.int64))
    with pytest.raises(TypeError):
        packed.pack_u32(np.array([0.5]))
    with pytest.raises(OverflowError):
        pack_u64([-1])


def test_packing_rounds_floats_to_the_width_of_the_wire() -> None:
    assert packed.unpack_f16(pack_f16(np.array([2049.0], dtype=np.float32))).tolist() == [2048.0]


def test_equal_lengths_are_returned_and_unequal_ones_named() -> None:
    ids = unpack_u64(bytes(16))

    assert check_equal_lengths(ids=ids, scores=[0.5, 0.25]) == 2
    assert check_equal_lengths() == 0
    with pytest.raises(InvalidColumns, match="ids has 2, flags has 1"):
        check_equal_lengths(ids=ids, flags=unpack_u32(bytes(4)))
