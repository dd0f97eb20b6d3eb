"""Ids as people write them, in columns: integers, or strings that are hashed, as `feedmesh load` reads them.

A string of decimal digits is the integer; any other string is hashed to 64 bits (`chassis/ids.string_id`).
Two names that share an id are not found out, as `load` does: among a billion names the odds are 3%.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from services.chassis.ids import string_id
from services.pixie.building.source import BadSource

_ID_MAX: Final = 2**64 - 1


def ids_of(column: Any, *, where: str, name: str, first_row: int) -> NDArray[np.uint64]:
    """Ids of an Arrow array: of integers, strings, or a dictionary of strings.

    `where`: the file, and `first_row` the column's first row in it, from 1, for what is said of a fault.

    Raises:
        BadSource: something is no id; where, says the message.
    """
    if pyarrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise BadSource(f"{where}: row {first_row + row}: {name} is missing")
    if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
        ids = _of_strings(column, where=where, name=name, first_row=first_row)
    elif pyarrow.types.is_integer(column.type):
        try:
            ids = _plain(column)
        except pyarrow.ArrowInvalid as error:
            raise BadSource(f"{where}: {name} has a negative id from row {first_row} on: {error}") from error
    else:
        raise BadSource(f"{where}: {name} is of type {column.type}; ids are integers or strings")
    nobody = np.flatnonzero(ids == 0)
    if nobody.size:
        raise BadSource(
            f"{where}: row {first_row + int(nobody[0])}: {name} is 0, which is nobody's id; count from 1"
        )
    return ids


def _plain(column: Any) -> NDArray[np.uint64]:
    ids: NDArray[np.uint64] = column.cast(pyarrow.uint64()).to_numpy(zero_copy_only=False)
    return ids


def _of_strings(column: Any, *, where: str, name: str, first_row: int) -> NDArray[np.uint64]:
    if pyarrow.compute.all(pyarrow.compute.ascii_is_decimal(column)).as_py():
        try:
            return _plain(column)
        except pyarrow.ArrowInvalid:
            # Too large for 64 bits: the slow way knows which.
            pass
    encoded = column.dictionary_encode()
    places: NDArray[np.int32] = encoded.indices.to_numpy()
    known = np.empty(len(encoded.dictionary), np.uint64)
    for place, written in enumerate(encoded.dictionary.to_pylist()):
        id_ = int(written) if written.isdecimal() else string_id(written) if written else 0
        if id_ > _ID_MAX or not written:
            row = first_row + int(np.flatnonzero(places == place)[0])
            raise BadSource(
                f"{where}: row {row}: {name} is {written or 'missing'}; integer ids are 1 to 2^64 - 1"
            )
        known[place] = id_
    return known[places]
