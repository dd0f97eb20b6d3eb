"""The space that candidates and users lie in: implicit-feedback matrix factorisation, folded in.

A model of users × pins (Hu, Koren and Volinsky, ICDM 2008) gives each pin a vector y. A user with the pins S
and confidences c_s = 1 + alpha · weight is, without being trained on,

    u = (YᵀY + Y_Sᵀ (C − I) Y_S + λI)⁻¹ Y_Sᵀ c        and the value of a candidate is u · y

Two changes leave every value as it is. With G = YᵀY + λI = L Lᵀ, pins are kept as z = L⁻¹ y: then G is the
identity, a user is u = (I + Z_Sᵀ D Z_S)⁻¹ Z_Sᵀ c with D = C − I, and no matrix lies beside the pins.
By Woodbury's identity u = Z_Sᵀ b, with b of as many numbers as S has pins:

    b = c − D^½ (I + D^½ K D^½)⁻¹ D^½ K c,   K = Z_S Z_Sᵀ

So a request solves a system of |S| equations, 26 instead of 128, and one that is well-conditioned: no
eigenvalue is below 1. |z| < 1 for every pin, as zᵀz is its leverage.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import BadRequest

_ROWS = 65_536
"""Rows that are held in float64 at once."""


def folded_space(item_factors: NDArray[np.float32], *, regularisation: float) -> NDArray[np.float32]:
    """Learned vectors y, float32 (pin, dim), as z, float32 of that shape; computed in float64.

    `regularisation` is the λ that they were learned with, greater than 0. Raises BadRequest on anything that
    is not finite. Blocks for dim² · pins multiplications.
    """
    if not regularisation > 0:
        raise BadRequest(
            f"regularisation is {regularisation}: it must be greater than 0, or there is no inverse"
        )
    if not np.isfinite(item_factors).all():
        raise BadRequest("the learned factors hold NaN or infinity; train with a greater regularisation")
    dim = item_factors.shape[1]
    gram = regularisation * np.eye(dim)
    for start in range(0, len(item_factors), _ROWS):
        part = item_factors[start : start + _ROWS].astype(np.float64)
        gram += part.T @ part
    to_space = np.linalg.inv(np.linalg.cholesky(gram)).T
    space = np.empty(item_factors.shape, np.float32)
    for start in range(0, len(item_factors), _ROWS):
        space[start : start + _ROWS] = item_factors[start : start + _ROWS].astype(np.float64) @ to_space
    return space
