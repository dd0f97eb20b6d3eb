"""The thread that keeps what a process has loaded in line with a folder of versions.

Woken by the file system, and every `scan_ms` for file systems that do not tell (network mounts). Whatever
goes wrong in a reading is logged, and the thread goes on: a watcher that died would leave a process on an
old version without a word. What is read, and what is refused, is the business of `reload`.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Final, Protocol

from watchfiles import watch

_DEBOUNCE_MS: Final = 200
_STEP_MS: Final = 100
_STOP_S: Final = 5.0


class Versions(Protocol):
    """What is loaded from a folder of versions."""

    directory: Path

    def reload(self) -> object:
        """Bring it in line with the folder. Never called by two threads at a time."""
        ...


class WatchedFolder:
    """Starts and stops the thread.

    Args:
        what: names the thread, and what is watched in the log.
        within: whether changes inside of the versions' own folders count, or only their coming and going.
    """

    def __init__(self, what: str, versions: Versions, *, scan_ms: int, within: bool, log: Any) -> None:
        self._what = what
        self._versions = versions
        self._scan_ms = scan_ms
        self._within = within
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=what, daemon=True)

    def start(self) -> None:
        """Make the folder, read it once, then watch. Blocks for the reading."""
        self._versions.directory.mkdir(parents=True, exist_ok=True)
        self._versions.reload()
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
                    self._versions.directory,
                    watch_filter=None,
                    recursive=self._within,
                    debounce=_DEBOUNCE_MS,
                    step=_STEP_MS,
                    rust_timeout=self._scan_ms,
                    yield_on_timeout=True,
                    stop_event=self._stop,
                    raise_interrupt=False,
                ):
                    self._versions.reload()
            except Exception:  # noqa: BLE001  the folder itself may be gone; it is looked for again
                self._log.exception("watching a folder failed; trying again", what=self._what)
                self._stop.wait(self._scan_ms / 1000)
