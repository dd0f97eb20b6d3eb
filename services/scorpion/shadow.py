"""Shadow scoring: a share of the requests is scored by a second model too, without effect on any answer.

Says what a new model would change before it serves: how far its scores are apart, how much the order
differs, how much of the first page stays. The share is drawn by a hash of the request id, so all hosts
draw the same requests. A request's matrix waits in a queue of a few for one thread; when that is behind,
it is dropped and counted: what serves never waits.
Costs: the shadow model's time for each request of the share, on the cores that serve; a matrix of 1,000
rows of 64 features is 256 kB.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter, Histogram

from services.chassis.clock import Clock

TOP: Final = 50
"""Rows whose overlap is measured: a page."""

_STOP_S: Final = 5.0


class ShadowModel(Protocol):
    """The model in the shadow; `models.Model` is one."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Raw scores of rows of the feature list's matrix."""
        ...


class ShadowMetrics(Protocol):
    """What the comparison is told in; label `model` is the shadow's name."""

    shadow_requests: Counter
    """Compared requests, by `model`."""
    shadow_dropped: Counter
    """Requests of the share that the thread had no room for."""
    shadow_failures: Counter
    """Requests that the shadow model did not score, by `model`."""
    shadow_seconds: Histogram
    """Its time for a request, by `model`."""
    shadow_difference: Histogram
    """Mean absolute difference of the raw scores, by `model`."""
    shadow_rank_correlation: Histogram
    """Spearman's, over a request's candidates, by `model`."""
    shadow_top_overlap: Histogram
    """Share of the best 50 that both have, by `model`."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two models' scores of one request differ."""

    difference: float
    """Mean absolute difference of the raw scores."""
    rank_correlation: float | None
    """Spearman's, -1 to 1; None where either model gives all rows the same score."""
    top_overlap: float
    """Share of the best `TOP` rows (or of all, when they are fewer) that both have, 0 to 1."""


class Shadow:
    """Scores a share of the requests again. `offer` is safe from any thread."""

    def __init__(
        self,
        model: Callable[[], ShadowModel | None],
        *,
        share: float,
        queue_max: int,
        metrics: ShadowMetrics,
        clock: Clock,
        log: Any,
    ) -> None:
        self._model = model
        self._share = share
        self._queue_max = queue_max
        self._metrics = metrics
        self._clock = clock
        self._log = log
        self._changed = threading.Condition()
        self._queue: deque[tuple[NDArray[np.float32], NDArray[np.float32]]] = deque()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Forget what waits, and end; waits for the request that is being scored, but not for ever."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def draws(self, request_id: str) -> bool:
        """Whether this request would be compared: it is of the share, and there is a shadow model."""
        return drawn(request_id, self._share) and self._model() is not None

    def offer(
        self, request_id: str, matrix: NDArray[np.float32], serving_scores: NDArray[np.float32]
    ) -> None:
        """Compare this request, if it is of the share and there is a shadow model. Never waits.

        Keeps references: `matrix`, float32 (row, feature of the list), and the scores that were served,
        float32 (row,), must be nobody's to write afterwards.
        """
        if not self.draws(request_id) or not serving_scores.size:
            return
        with self._changed:
            room = len(self._queue) < self._queue_max and not self._stopping
            if room:
                self._queue.append((matrix, serving_scores))
                self._changed.notify()
        if not room:
            self._metrics.shadow_dropped.inc()

    def score_next(self) -> bool:
        """Compare the request that waits longest; whether there was one. For the thread, or for a test
        that started none. A fault of the model is logged and counted, not raised."""
        with self._changed:
            if not self._queue:
                return False
            matrix, serving = self._queue.popleft()
        model = self._model()
        if model is None:
            # Unloaded since; there is nothing to compare any more.
            return True
        began = self._clock.monotonic()
        try:
            scores = model.score(matrix)
            self._observe(model.name, compared(serving, scores), self._clock.monotonic() - began)
        except Exception:  # noqa: BLE001  a model that is tried out may fail in any way; serving must not
            self._metrics.shadow_failures.labels(model.name).inc()
            self._log.exception("the shadow model failed", model=model.name)
        return True

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._queue)
                if self._stopping:
                    return
            self.score_next()

    def _observe(self, model: str, comparison: Comparison, seconds: float) -> None:
        self._metrics.shadow_requests.labels(model).inc()
        self._metrics.shadow_seconds.labels(model).observe(seconds)
        self._metrics.shadow_difference.labels(model).observe(comparison.difference)
        self._metrics.shadow_top_overlap.labels(model).observe(comparison.top_overlap)
        if comparison.rank_correlation is not None:
            self._metrics.shadow_rank_correlation.labels(model).observe(comparison.rank_correlation)


def drawn(request_id: str, share: float) -> bool:
    """Whether a request is of the share: the same answer for one id, everywhere. Some 1 µs."""
    if share <= 0:
        return False
    # The person sets it apart from the feature log's draw: the same hash would draw the same requests.
    digest = hashlib.blake2b(request_id.encode(), digest_size=8, person=b"shadow").digest()
    return int.from_bytes(digest, "little") < share * 2**64


def compared(serving: NDArray[np.float32], shadow: NDArray[np.float32]) -> Comparison:
    """Compares two models' raw scores of the same rows, at least one; finite, of shape (row,)."""
    top = min(TOP, serving.size)
    return Comparison(
        difference=float(np.abs(serving.astype(np.float64) - shadow).mean()),
        rank_correlation=_correlation(_ranks(serving), _ranks(shadow)),
        top_overlap=np.intersect1d(_best(serving, top), _best(shadow, top)).size / top,
    )


def _ranks(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Rank of each row; rows with the same score share the mean of theirs, which Spearman's asks for."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: NDArray[np.float64] = ends - (counts - 1) / 2
    return means[place]


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 0 else None


def _best(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """The rows of the best scores; ties by the earlier row, as selection takes them."""
    return np.argsort(-scores, kind="stable")[:count]
