"""A version of item factors: mapped, checked, and safe to ask from any thread.

    signal ─► the first 100 pins that have factors ─► user (space.py) ─► u · z of each candidate

The user is made anew in each request, so an action shows with the signal that carries it; nobody has to have
been there when the factors were learned. 1,000 candidates cost 0.12 ms (128 numbers a pin, 26 pins folded in,
a million pins in all), with halves 0.24 ms for half the memory: docs/decisions/0015-item-factors.md.
A version that is damaged or cut off is refused when it is opened. *Not* checked: that the factors are any
good; that is for the models that read them, and their judging.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from services.scorpion.factors import kernels
from services.scorpion.factors.files import BadFactors, Manifest, mapped
from services.scorpion.feature_columns import Signal, read_only

_RUNS_BITS: Final = 16
"""Leading bits of an id that the index knows: 256 kB."""


class Factors:
    """Factors of a version. Its memory goes when the last request that uses it has ended."""

    def __init__(self, manifest: Manifest, pins: NDArray[np.uint64], factors: NDArray[Any]) -> None:
        """Of mapped arrays: `pins` ascending, `factors` float32 (pin, dim), or the bits of halves, uint16."""
        self.manifest = manifest
        self._pins = pins
        self._factors = factors
        self._alpha = float(manifest.alpha)
        self._scale = np.float32(manifest.scale)
        self._shift, self._starts = _index(pins)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """The version in the folder. Reads all of it once. Raises BadFactors with what is wrong."""
        manifest = Manifest.read(folder)
        if (manifest.name, manifest.version) != (folder.parent.name, folder.name):
            raise BadFactors(f"{folder} holds factors {manifest.name} {manifest.version}: it was moved")
        return cls(manifest, *mapped(folder, manifest))

    def __len__(self) -> int:
        return int(self._pins.size)

    def values(self, signal: Signal, pins: NDArray[np.uint64]) -> NDArray[np.float32]:
        """How near each pin is to what the signal tells of the user, float32 (pin,); NaN: no factors.

        About 0 for what the user would pass by, 1 for what they have taken; a user of whom no pin is known is
        0 to everything. Weights of the signal are confidences; those that are not above 0 count nothing.
        """
        rows = self._rows_of(pins)
        weights = read_only(signal.values, np.float32)
        folded, excess = kernels.folded_pins(self._rows_of(signal.ids), weights, self._alpha)
        user = kernels.user_of(self._vectors(folded), excess)
        if self._factors.dtype == np.float32:
            return kernels.values(user, self._factors, rows)  # type: ignore[no-any-return]
        return kernels.half_values(user, self._factors, rows, self._scale)  # type: ignore[no-any-return]

    def _rows_of(self, ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        return kernels.rows_of(  # type: ignore[no-any-return]
            read_only(ids, np.uint64), self._pins, self._starts, self._shift
        )

    def _vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        if self._factors.dtype == np.float32:
            return self._factors[rows]
        return kernels.half_rows(self._factors, rows, self._scale)  # type: ignore[no-any-return]


def _index(pins: NDArray[np.uint64]) -> tuple[np.uint64, NDArray[np.uint32]]:
    """By how much an id (less the first one) is shifted to give its run, and where each run begins."""
    span = int(pins[-1] - pins[0])
    shift = max(0, span.bit_length() - _RUNS_BITS)
    runs = (span >> shift) + 1
    bounds = np.arange(1, runs, dtype=np.uint64) << np.uint64(shift)
    starts = np.concatenate([[0], np.searchsorted(pins - pins[0], bounds), [pins.size]])
    starts = starts.astype(np.uint32)
    starts.flags.writeable = False
    return np.uint64(shift), starts
