"""Progress bars of work that goes step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

Step: TypeAlias = Callable[[int, int], None]
"""Called with what is done, and what is to do."""


@contextmanager
def steps(console: Console) -> Iterator[Callable[[str], Step]]:
    """Makes one progress bar after the other; one that is never told how far it is shows that it works."""
    bar = Progress(
        TextColumn("{task.description:<24}"),
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
