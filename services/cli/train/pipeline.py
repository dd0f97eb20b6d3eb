"""The steps of a training, with what the person sees meanwhile: read → replay → fit and judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from services.cli.connection import Connection
from services.cli.log.opening import opened_log
from services.cli.train.declared import Declared
from services.cli.train.history import RECORDS_MAX, read_history
from services.cli.train.replay import ReplayOptions, replay
from services.cli.train.trained import Outcome, check_name, new_name, train_model
from services.scorpion.training import TrainingOptions

HOLDOUT_DAYS: Final = 3.0

Step: TypeAlias = Callable[[int, int], None]
"""Called with what is done, and what is to do."""


def train_from_log(
    connection: Connection,
    declared: Declared,
    console: Console,
    *,
    training: TrainingOptions,
    rows: ReplayOptions,
    records_max: int = RECORDS_MAX,
    name: str = "",
    may_promote: bool = True,
) -> Outcome:
    """Read, replay, fit, judge; shows progress. Raises BadRequest when the log cannot teach."""
    models_dir = connection.layout.models_dir
    name = name or new_name()
    # Said before the work, not after it.
    check_name(models_dir, name)
    with _steps(console) as step:
        with opened_log(connection) as log:
            history = read_history(log, records_max=records_max, progress=step("reading the log"))
        replayed = replay(history, declared, rows, step("replaying it"))
        fitting = step("fitting")
        fitting(0, 1)
        return train_model(
            declared.features,
            replayed,
            models_dir,
            training,
            name=name,
            may_promote=may_promote,
        )


@contextmanager
def _steps(console: Console) -> Iterator[Callable[[str], Step]]:
    """Makes one progress bar after the other."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:

        def step(text: str) -> Step:
            task = bar.add_task(text, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        yield step
