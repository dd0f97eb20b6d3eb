"""Requests by the thousand, several at a time, with a progress bar."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
CLIENTS: Final = 4
"""Twice the cores of a small machine: one request is on its way while another one is made."""
_AHEAD: Final = 64
"""Requests that were begun and not taken: bounds the memory of a long run."""


def asked(
    console: Console, what: str, ask: Callable[[int], T], count: int, take: Callable[[int, T], Any]
) -> None:
    """Call `ask` for 0 to `count` - 1 from `CLIENTS` threads, and `take` each answer here, in order.

    Raises what either of them raised first; requests that wait are then not made.
    """
    with bar(console) as progress, ThreadPoolExecutor(CLIENTS) as pool:
        task = progress.add_task(what, total=count)
        pending: deque[tuple[int, Future[T]]] = deque()
        try:
            for number in range(count):
                pending.append((number, pool.submit(ask, number)))
                if len(pending) >= _AHEAD:
                    _take(pending, take)
                    progress.advance(task)
            while pending:
                _take(pending, take)
                progress.advance(task)
        finally:
            # After a fault nobody waits for the rest.
            pool.shutdown(wait=False, cancel_futures=True)


def bar(console: Console) -> Progress:
    """A bar that goes when it is full."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _take(pending: deque[tuple[int, Future[T]]], take: Callable[[int, T], Any]) -> None:
    number, future = pending.popleft()
    take(number, future.result())
