"""The steps of a build as progress bars, with how many and how fast; finished ones stay as lines."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from services.pixie.building.source import Advance

_NAME_CHARS: Final = 24


class BuildingSteps:
    """A `Progress` of the builder: one bar at a time, below the lines of the steps that are done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn(f"{{task.description:<{_NAME_CHARS}}}"),
            BarColumn(),
            _Rate(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._name = ""
        self._done = 0
        self._task: TaskID | None = None
        self._began = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if kind is None:
            self._end()
        self._bar.stop()

    def step(self, name: str, total: int | None) -> Advance:
        """The last step is done, the next one begins."""
        self._end()
        task = self._task = self._bar.add_task(name, total=total)
        self._name, self._done, self._began = name, 0, time.monotonic()

        def advance(count: int) -> None:
            self._done += count
            self._bar.advance(task, count)

        return advance

    def _end(self) -> None:
        if self._task is None:
            return
        self._bar.remove_task(self._task)
        self._task = None
        took_s = time.monotonic() - self._began
        rate = _rate(self._done, took_s)
        self._console.print(
            f"{self._name:<{_NAME_CHARS}} {self._done:>15,}  {rate:>12}  {took_s:8.1f} s",
            highlight=False,
            style="dim",
        )


class _Rate(ProgressColumn):
    """What is done, of how much, and how fast."""

    def render(self, task: Task) -> Text:
        """The column's text."""
        total = f" of {int(task.total):,}" if task.total is not None else ""
        return Text(f"{int(task.completed):,}{total}  {_rate(task.completed, task.elapsed or 0.0)}")


def _rate(done: float, took_s: float) -> str:
    return f"{done / took_s / 1e6:,.2f} M/s" if took_s > 0 else ""
