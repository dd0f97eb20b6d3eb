"""Meets the stores before the first request does, beside serving.

Owns one thread that connects to every host of Rockstore and Counter, and reads the schemas of rows; it ends
when all have answered. Without it the first requests after a start would pay for connecting within the
little time that a fetch has, and on busy processors be scored with defaults. A store that is away is met
when it comes, or by the first request after `PATIENCE_S`; nothing waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 60.0
"""How long stores are looked for."""
_PAUSE_S: Final = 0.2
_TRY_S: Final = 2.0


class FirstContact:
    """Starts and stops the thread."""

    def __init__(self, meet: Callable[[float], bool]) -> None:
        """`meet(timeout_s)`: whether every host answered; never raises."""
        self._meet = meet
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="first-contact", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Look for nobody any more; waits for the try under way."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_TRY_S + 1)

    def _run(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while not self._stop.is_set() and time.monotonic() < until and not self._meet(_TRY_S):
            self._stop.wait(_PAUSE_S)
