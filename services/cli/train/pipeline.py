"""The steps of a training, with what the person sees meanwhile: read → replay or join → fit and judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from rich.console import Console

from services.cli.connection import Connection
from services.cli.log.opening import opened_log
from services.cli.train.declared import Declared
from services.cli.train.feature_rows import FeatureRows, log_folders, read_rows
from services.cli.train.history import RECORDS_MAX, read_history
from services.cli.train.joining import joined, read_actions
from services.cli.train.material import Material, Origin, replayed_material, unknown_to_log
from services.cli.train.progress import Step, steps
from services.cli.train.replay import ReplayOptions, replay
from services.cli.train.times import span
from services.cli.train.trained import Outcome, check_name, new_name, train_model
from services.scorpion.training import TrainingOptions

HOLDOUT_DAYS: Final = 3.0
ROWS_ENOUGH: Final = 10_000
"""Rows of the feature log from which on it is what is trained on, when nothing else is asked for."""
_MS_PER_DAY: Final = 86_400_000
_ORIGIN_WORDS: Final[Mapping[Origin, str]] = {"features": "feature log", "log": "event log"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to become of the model."""

    name: str = field(default_factory=new_name)
    may_promote: bool = True
    force: str = ""
    """Why it is to serve even when the rule refuses it; empty: it is not."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is trained on, and why."""

    origin: Origin
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the person said of the training; None: what suits the rows."""

    origin: Origin | None = None
    objective: Literal["lambdarank", "binary"] | None = None
    window_ms: int = 24 * 3_600_000
    holdout_days: float = HOLDOUT_DAYS
    trees: int = 100
    rows_max: int = 300_000
    threads: int = 1
    records_max: int = RECORDS_MAX


def train_from_best(
    connection: Connection, declared: Declared, console: Console, *, asked: Asked, wanted: Wanted
) -> Outcome:
    """Train on the feature log or the event log, and say which and why. Raises as those two."""
    check_name(connection.layout.models_dir, wanted.name)
    found = FeatureRows(None, 0, ())
    if asked.origin != "log":
        found = read_feature_rows(connection, declared, console, rows_max=asked.rows_max)
    choice = chosen_origin(asked.origin, found, holdout_days=asked.holdout_days)
    console.print(f"from the {_ORIGIN_WORDS[choice.origin]}: {choice.reason}", highlight=False)
    training = TrainingOptions(
        objective=asked.objective or ("lambdarank" if choice.origin == "features" else "binary"),
        holdout_days=asked.holdout_days,
        tree_count=asked.trees,
        threads=asked.threads,
    )
    unknown = unknown_to_log(declared.features)
    if choice.origin == "log" and unknown:
        console.print(
            f"only the feature log knows {', '.join(unknown)}: at their default in every row, they teach "
            "nothing here",
            highlight=False,
        )
    if choice.origin == "features":
        return train_from_features(
            connection,
            declared,
            console,
            found=found,
            training=training,
            window_ms=asked.window_ms,
            records_max=asked.records_max,
            wanted=wanted,
        )
    rows = ReplayOptions(rows_max=asked.rows_max, window_ms=asked.window_ms)
    return train_from_log(
        connection,
        declared,
        console,
        training=training,
        rows=rows,
        records_max=asked.records_max,
        wanted=wanted,
    )


def train_from_log(
    connection: Connection,
    declared: Declared,
    console: Console,
    *,
    training: TrainingOptions,
    rows: ReplayOptions,
    records_max: int = RECORDS_MAX,
    wanted: Wanted | None = None,
) -> Outcome:
    """Read, replay, fit, judge; shows progress. Raises BadRequest when the log cannot teach."""
    models_dir = connection.layout.models_dir
    wanted = wanted or Wanted()
    # Said before the work, not after it.
    check_name(models_dir, wanted.name)
    declared = declared.with_factors(connection.layout.factors_dir)
    with steps(console) as step:
        with opened_log(connection) as log:
            history = read_history(log, records_max=records_max, progress=step("reading the log"))
        replayed = replay(history, declared, rows, step("replaying it"))
        material = replayed_material(replayed, window_ms=rows.window_ms)
        return _fitted(declared, material, models_dir, training, wanted, step("fitting and judging"))


def train_from_features(
    connection: Connection,
    declared: Declared,
    console: Console,
    *,
    found: FeatureRows,
    training: TrainingOptions,
    window_ms: int,
    records_max: int = RECORDS_MAX,
    wanted: Wanted | None = None,
) -> Outcome:
    """Join, fit, judge; shows progress. Raises BadRequest when the rows cannot teach."""
    models_dir = connection.layout.models_dir
    wanted = wanted or Wanted()
    check_name(models_dir, wanted.name)
    with steps(console) as step:
        with opened_log(connection) as log:
            actions = read_actions(log, records_max=records_max, progress=step("reading the actions"))
        material = joined(found, actions, window_ms=window_ms)
        return _fitted(declared, material, models_dir, training, wanted, step("fitting and judging"))


def read_feature_rows(
    connection: Connection, declared: Declared, console: Console, *, rows_max: int
) -> FeatureRows:
    """The feature log's rows that have today's features; shows that it works. Raises CorruptValue."""
    with steps(console) as step:
        step("reading the feature log")
        return read_rows(log_folders(connection.layout), declared.features.digests, rows_max=rows_max)


def chosen_origin(asked: Origin | None, found: FeatureRows, *, holdout_days: float) -> Choice:
    """From where to train: as asked, else the feature log when it has rows enough, and days."""
    count = len(found)
    others = f" (and {found.other_count:,} of other features)" if found.other_count else ""
    has = f"the feature log has {count:,} rows of {_requests(found):,} requests{others}"
    if asked is not None:
        return Choice(asked, f"as asked; {has}" if asked == "features" else "as asked")
    if count < ROWS_ENOUGH:
        return Choice("log", f"{has}, of {ROWS_ENOUGH:,} that make it the source")
    assert found.rows is not None
    length_ms = int(found.rows.served_ms[-1]) - int(found.rows.served_ms[0])
    held_out_ms = holdout_days * _MS_PER_DAY
    if length_ms < 2 * held_out_ms:
        return Choice(
            "log",
            f"{has}, of {span(length_ms)}: twice the {span(held_out_ms)} that are held out are needed",
        )
    return Choice("features", has)


def _fitted(
    declared: Declared,
    material: Material,
    models_dir: Path,
    training: TrainingOptions,
    wanted: Wanted,
    progress: Step,
) -> Outcome:
    return train_model(
        declared.features,
        material,
        models_dir,
        training,
        name=wanted.name,
        may_promote=wanted.may_promote,
        force=wanted.force,
        progress=progress,
    )


def _requests(found: FeatureRows) -> int:
    requests = found.requests
    return int(requests[-1]) + 1 if requests.size else 0
