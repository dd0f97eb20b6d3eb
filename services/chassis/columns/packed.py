"""Owns packed columns: little-endian arrays of one dtype as `bytes`, the way hot RPCs and blobs carry them.

`unpack_*` reads without a copy and returns a read-only array over the message's own bytes. Refuses a
ragged length (InvalidColumns, naming the field), and, when packing, a cast that could change values
silently (signed to unsigned, float to integer). float64 to float32 and float16 rounds; that is allowed.
Where next: the proto comments say which fields are packed and with which dtype.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from services.chassis.errors import InvalidColumns

Packed = bytes | bytearray | memoryview


def pack_u64(values: ArrayLike) -> bytes:
    """Return the uint64 values as little-endian bytes, 8 per value; empty gives b""."""
    return _pack(values, "<u8")


def pack_u32(values: ArrayLike) -> bytes:
    """Return the uint32 values as little-endian bytes, 4 per value."""
    return _pack(values, "<u4")


def pack_u16(values: ArrayLike) -> bytes:
    """Return the uint16 values as little-endian bytes, 2 per value."""
    return _pack(values, "<u2")


def pack_u8(values: ArrayLike) -> bytes:
    """Return the uint8 values as bytes, 1 per value."""
    return _pack(values, "|u1")


def pack_i64(values: ArrayLike) -> bytes:
    """Return the int64 values (times, mostly) as little-endian bytes, 8 per value."""
    return _pack(values, "<i8")


def pack_f32(values: ArrayLike) -> bytes:
    """Return the values as little-endian float32, 4 bytes per value, in C order for a matrix."""
    return _pack(values, "<f4")


def pack_f64(values: ArrayLike) -> bytes:
    """Little-endian float64."""
    return _pack(values, "<f8")


def pack_f16(values: ArrayLike) -> bytes:
    """Return the values as little-endian float16, 2 bytes per value; above 65,504 becomes infinity."""
    return _pack(values, "<f2")


def unpack_u64(data: Packed, field: str = "column") -> NDArray[np.uint64]:
    """Return the uint64 values of `data` as a read-only array without a copy.

    Raises:
        InvalidColumns: the length is not a multiple of 8; `field` names it. All unpackers do alike.
    """
    return _unpack(data, "<u8", field)


def unpack_u32(data: Packed, field: str = "column") -> NDArray[np.uint32]:
    """Return the uint32 values of `data`, as `unpack_u64` does."""
    return _unpack(data, "<u4", field)


def unpack_u16(data: Packed, field: str = "column") -> NDArray[np.uint16]:
    """Return the uint16 values of `data`, as `unpack_u64` does."""
    return _unpack(data, "<u2", field)


def unpack_u8(data: Packed, field: str = "column") -> NDArray[np.uint8]:
    """Return the uint8 values of `data`, as `unpack_u64` does."""
    return _unpack(data, "|u1", field)


def unpack_i64(data: Packed, field: str = "column") -> NDArray[np.int64]:
    """Return the int64 values of `data`, as `unpack_u64` does."""
    return _unpack(data, "<i8", field)


def unpack_f32(data: Packed, field: str = "column") -> NDArray[np.float32]:
    """Return the float32 values of `data`, as `unpack_u64` does; NaN and infinity pass."""
    return _unpack(data, "<f4", field)


def unpack_f16(data: Packed, field: str = "column") -> NDArray[np.float16]:
    """Return the float16 values of `data`, as `unpack_u64` does; NaN and infinity pass."""
    return _unpack(data, "<f2", field)


def check_equal_lengths(**columns: Sequence[Any] | NDArray[Any]) -> int:
    """Return the common length of the named columns (0 for none).

    Raises:
        InvalidColumns: they differ; the message lists every length.
    """
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise InvalidColumns(f"columns must have equal lengths: {listed}", **lengths)
    return next(iter(lengths.values()), 0)


def _pack(values: ArrayLike, dtype: DTypeLike) -> bytes:
    if isinstance(values, np.ndarray):
        # `same_kind` refuses int64 -> uint64: -1 would travel as 18446744073709551615.
        return values.astype(dtype, order="C", casting="same_kind", copy=False).tobytes()
    # A list of Python ints: numpy raises OverflowError for what does not fit.
    return np.asarray(values, dtype=dtype).tobytes()


def _unpack(data: Packed, dtype: str, field: str) -> NDArray[Any]:
    wanted = np.dtype(dtype)
    size = data.nbytes if isinstance(data, memoryview) else len(data)
    if size % wanted.itemsize:
        raise InvalidColumns(
            f"{field} has {size} bytes, which is not a multiple of {wanted.itemsize}; "
            f"send packed little-endian {wanted.name}",
            field=field,
            bytes=size,
        )
    if not size:
        # np.frombuffer refuses an empty buffer.
        values = np.empty(0, dtype=wanted)
    else:
        values = np.frombuffer(data, dtype=wanted)
        if not values.flags.aligned:
            # A slice at an odd offset is another type to numba: every kernel would compile again.
            values = values.copy()
    # Read-only always, also over a bytearray: one type for kernels, and nobody edits a message.
    values.flags.writeable = False
    return values
