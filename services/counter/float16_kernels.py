"""float32 to float16 inside a kernel: the bits that numpy's `astype` gives, without its second pass.

In whole numbers alone (after Giesen, "float->half variants", the one that rounds to nearest even), so that it
needs no F16C from the processor, without which LLVM calls a function for every value. In the gathering loop
it took as long as LLVM's fptrunc with F16C, and as numpy's `astype` afterwards: the memory behind the
look-ups is what costs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

FLOAT16_MAX = np.float32(65_504)
_HALF_NORMAL_MIN_BITS = np.uint32(0x38800000)
"""2^-14 as float32: below it a float16 is subnormal."""
_HALF_BITS = np.uint32(0x3F000000)
"""0.5 as float32: added, it leaves a value in units of 2^-24 in the low bits, rounded by the processor."""
_REBIAS_AND_ROUND = np.uint32(0xC8000FFF)
"""(15 - 127) << 23, and just under half of what the shift by 13 drops."""


@njit(cache=True, nogil=True)
def float16_bits(value: Any) -> Any:
    """uint16 bits of a float32 clipped to 65,504. Not for values below 0, nor NaN."""
    clipped = np.float32(min(value, FLOAT16_MAX))
    bits = clipped.view(np.uint32)
    if bits < _HALF_NORMAL_MIN_BITS:
        raised = np.float32(clipped + np.float32(0.5))
        return np.uint16(raised.view(np.uint32) - _HALF_BITS)
    odd = (bits >> np.uint32(13)) & np.uint32(1)
    return np.uint16((bits + _REBIAS_AND_ROUND + odd) >> np.uint32(13))
