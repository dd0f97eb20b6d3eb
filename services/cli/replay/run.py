"""One replay, step by step: read → score twice → compare → judge by what people did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from services.chassis.errors import FeedmeshError
from services.cli.connection import Connection
from services.cli.log.opening import opened_log
from services.cli.models.versions import version
from services.cli.replay.comparison import Compared, compared
from services.cli.replay.scoring import LOGGED, Agreement, agreement, loaded, rows_for, scores_of
from services.cli.train.feature_rows import FOREVER_MS, log_folders, request_numbers
from services.cli.train.history import RECORDS_MAX, History
from services.cli.train.joining import labels_of, read_actions
from services.cli.train.progress import steps
from services.scorpion.evaluation import bootstrap_interval, ndcg_by_session
from services.scorpion.feature_log_files import LoggedRows
from services.scorpion.features import FeatureList

NDCG_K: Final = 10
SEED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the person said."""

    model: str
    against: str
    """A model, or `LOGGED`."""
    from_ms: int | None = None
    until_ms: int | None = None
    window_ms: int
    rows_max: int
    with_actions: bool = True


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came of it."""

    asked: Asked
    rows: LoggedRows
    starts: NDArray[np.int64]
    """Request i has the rows `starts[i]` to `starts[i + 1]`."""
    compared: Compared
    agreement: Agreement | None
    """None: not asked, as it was compared with another model."""
    passed_over: int
    """Rows of other features."""
    ndcg: dict[str, Any] | None
    """Of both, and their difference; None when it is not known."""
    no_ndcg: str
    """Why; empty when it is."""
    taught_until_ms: int
    """The last moment that a compared model was trained on; 0: none says."""

    @property
    def taught_count(self) -> int:
        """Requests that are not later than that: their actions may be what a model learned by heart."""
        return int(np.count_nonzero(self.rows.served_ms[self.starts[:-1]] <= self.taught_until_ms))


def replay_requests(
    connection: Connection, features: FeatureList, asked: Asked, console: Console
) -> Replayed:
    """`replayed_rows` of a mesh; shows progress."""
    with steps(console) as step:

        def actions() -> History:
            with opened_log(connection) as log:
                return read_actions(log, records_max=RECORDS_MAX, progress=step("reading the actions"))

        step("reading and scoring")
        layout = connection.layout
        return replayed_rows(layout.models_dir, log_folders(layout), features, asked, actions)


def replayed_rows(
    models_dir: Path,
    folders: Sequence[Path],
    features: FeatureList,
    asked: Asked,
    actions: Callable[[], History],
) -> Replayed:
    """Score the rows of the feature logs twice, and compare. Blocks for seconds; `actions` reads what people
    did, and when it raises FeedmeshError there is no NDCG.

    Raises UsageFault when a model is not there or no row is, CliFault when one would be refused, CorruptValue
    on a damaged file of the log.
    """
    model = loaded(models_dir, asked.model, features)
    other = None if asked.against == LOGGED else loaded(models_dir, asked.against, features)
    found = rows_for(
        folders,
        features,
        [one for one in (model, other) if one is not None],
        from_ms=asked.from_ms or 0,
        until_ms=FOREVER_MS if asked.until_ms is None else asked.until_ms,
        rows_max=asked.rows_max,
    )
    rows = found.rows
    assert rows is not None, "rows_for refuses an empty log"
    scores, others = scores_of(model, rows), scores_of(other, rows)
    starts = _starts(rows)
    ndcg, no_ndcg = _judged(asked, rows, scores, others, actions)
    return Replayed(
        asked,
        rows,
        starts,
        compared(scores, others, starts),
        agreement(asked.model, scores, rows) if other is None else None,
        found.other_count,
        ndcg,
        no_ndcg,
        max(taught_until_ms(models_dir, name) for name in (asked.model, asked.against)),
    )


def taught_until_ms(models_dir: Path, name: str) -> int:
    """The last moment that the model was trained on; 0 when its card does not say, or it is no model."""
    if name == LOGGED:
        return 0
    return int(version(models_dir, name).card.get("training", {}).get("last_ms", 0))


def ndcg_of(
    scores: NDArray[np.float64], others: NDArray[np.float64], labels: NDArray[np.float32], rows: LoggedRows
) -> dict[str, Any] | None:
    """NDCG of both, and the difference with its 95% interval by request; None when nobody did anything."""
    requests = request_numbers(rows)
    mine = ndcg_by_session(scores, labels, requests, k=NDCG_K, seed=SEED)
    theirs = ndcg_by_session(others, labels, requests, k=NDCG_K, seed=SEED)
    counted = ~np.isnan(mine)
    if not counted.any():
        return None
    less = (mine - theirs)[counted]
    return {
        "model": float(mine[counted].mean()),
        "against": float(theirs[counted].mean()),
        "difference": float(less.mean()),
        "interval": list(bootstrap_interval(less, seed=SEED)),
        "requests": int(counted.sum()),
    }


def _judged(
    asked: Asked,
    rows: LoggedRows,
    scores: NDArray[np.float64],
    others: NDArray[np.float64],
    actions: Callable[[], History],
) -> tuple[dict[str, Any] | None, str]:
    """NDCG against what people did, or why there is none: that does not fail the replay."""
    if not asked.with_actions:
        return None, "not asked for"
    try:
        labels = labels_of(rows, actions(), window_ms=asked.window_ms)
    except FeedmeshError as fault:
        return None, f"the event log cannot be read: {fault.message}"
    ndcg = ndcg_of(scores, others, labels, rows)
    return ndcg, "" if ndcg is not None else "nothing on these pages was engaged with"


def _starts(rows: LoggedRows) -> NDArray[np.int64]:
    requests = request_numbers(rows)
    return np.searchsorted(requests, np.arange(int(requests[-1]) + 2)).astype(np.int64)
