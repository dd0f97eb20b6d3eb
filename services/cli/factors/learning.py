"""From pairs to a vector for each pin: alternating least squares on implicit feedback, by `implicit`.

Hu, Koren and Volinsky, ICDM 2008, with conjugate gradients (Takács, Pilászy and Tikk, RecSys 2011). The
library is an extra, and imported here alone. The same pairs, options and number of threads give the same
vectors up to rounding. *Not* guaranteed: the same bits on another machine, as BLAS adds up in an order of
its own.
Costs, an iteration: pairs × dim × 3 steps, and (boards + pins) × dim².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from services.cli.factors.pairs import Pairs
from services.cli.faults import UsageFault
from services.scorpion.factors.files import Learned

LAMBDA_SHARE: Final = 0.3
"""λ as a share of alpha · the mean board's weights, so that it suits boards of any size. On Pinterest's saves
(25 pins a board) HR@10 is best from 0.25 to 0.6; at a tenth of that it learns boards by heart, at 1.6 times
little but what is popular is left."""
MISSING: Final = "learning factors needs the extra: pip install 'feedmesh[factors]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to learn. The defaults are for boards of some 20 pins."""

    dim: int = 64
    alpha: float = 10.0
    """Confidence of a pair is 1 + alpha · its weight; of all others 1."""
    regularisation: float | None = None
    """λ; None: `LAMBDA_SHARE` of what a board's pairs weigh together."""
    iterations: int = 15
    seed: int = 1
    threads: int = 1


def learn(pairs: Pairs, options: Options, progress: Callable[[int, int], None]) -> Learned:
    """A vector for each pin. Blocks for seconds to hours; `progress` gets iterations done, and to do.

    Raises UsageFault when the library is not there.
    """
    try:
        import implicit
        import scipy.sparse
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits
    except ImportError as fault:
        raise UsageFault(MISSING) from fault
    regularisation = options.regularisation
    if regularisation is None:
        regularisation = LAMBDA_SHARE * options.alpha * float(pairs.weights.sum()) / pairs.board_count
    # With an alpha of 0 nothing weighs more than what was not saved; some λ is needed all the same.
    regularisation = max(regularisation, 1e-9)
    confidences = (1.0 + options.alpha * pairs.weights).astype(np.float32)
    matrix = scipy.sparse.csr_matrix(
        (confidences, pairs.columns, pairs.starts), shape=(pairs.board_count, pairs.pins.size)
    )
    # The library's own threads and those of BLAS would get in each other's way.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=options.dim,
            regularization=regularisation,
            iterations=options.iterations,
            num_threads=options.threads,
            random_state=options.seed,
        )
        model.fit(
            matrix,
            show_progress=False,
            callback=lambda done, elapsed, loss: progress(done + 1, options.iterations),
        )
    return Learned(
        pins=pairs.pins,
        factors=np.asarray(model.item_factors, np.float32),
        alpha=options.alpha,
        regularisation=regularisation,
        source=pairs.source,
        told={
            **asdict(options),
            "regularisation": regularisation,
            "boards": pairs.board_count,
            "pairs": pairs.pair_count,
            "implicit": implicit.__version__,
        },
    )
