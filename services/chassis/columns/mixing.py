"""Owns the id hash as a numba kernel, for use inside other kernels: bloom filters, hash tables.

It is `services.chassis.ids.mix64`, bit for bit; a property test holds the two together.
"""

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def mix64_kernel(value: Any) -> Any:
    """Return fmix64 of a uint64 as a uint64. A caller passes np.uint64: a signed value shifts wrongly."""
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> np.uint64(33)
    return value


def warm() -> None:
    """Compile (or load from the cache) before the service reports ready."""
    mix64_kernel(np.uint64(1))
