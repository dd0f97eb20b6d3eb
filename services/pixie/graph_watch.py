"""The thread that keeps the live graph in line with its directory.

Woken by the file system, and every `graphs_scan_ms` for file systems that do not tell (network mounts).
Whatever goes wrong in a reading is logged, and the thread goes on: a watcher that died would leave a process
on an old graph without a word.
"""

from __future__ import annotations

import threading
from typing import Any, Final

from watchfiles import watch

from services.pixie.live_graph import LiveGraph

_DEBOUNCE_MS: Final = 200
_STEP_MS: Final = 100
_STOP_S: Final = 5.0


class GraphWatch:
    """Starts and stops the thread."""

    def __init__(self, live: LiveGraph, *, scan_ms: int, log: Any) -> None:
        self._live = live
        self._scan_ms = scan_ms
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="graphs", daemon=True)

    def start(self) -> None:
        """Make the directory, read it once, then watch. Blocks for the reading."""
        self._live.directory.mkdir(parents=True, exist_ok=True)
        self._live.reload()
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; waits for a reading that is under way, but not for ever."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(_STOP_S)

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                for _ in watch(
                    self._live.directory,
                    watch_filter=None,
                    # A version appears by one rename; what goes on inside drafts is nothing to wake for.
                    recursive=False,
                    debounce=_DEBOUNCE_MS,
                    step=_STEP_MS,
                    rust_timeout=self._scan_ms,
                    yield_on_timeout=True,
                    stop_event=self._stop,
                    raise_interrupt=False,
                ):
                    self._live.reload()
            except Exception:  # noqa: BLE001  the directory itself may be gone; it is looked for again
                self._log.exception("watching the graphs failed; trying again")
                self._stop.wait(self._scan_ms / 1000)
