"""A file that every process reads, as the process sees it: parsed, watched, and swapped whole.

A file that does not parse keeps the old value: a typing error in a file that a whole mesh watches must not
stop the mesh. Who owns the value says what to count and log on each. Readers take `current()` once per
request and see one value throughout; it is one attribute, without a lock.
Not guaranteed: that every content is seen. Of two changes within a tenth of a second, the last one is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

from watchfiles import watch

from services.chassis.errors import ConfigFaults

T = TypeVar("T")

_DEBOUNCE_MS: Final = 100
_STEP_MS: Final = 250


class WatchedFile(Generic[T]):
    """Holds a value; `start` watches the file that it came from.

    Args:
        path: None for a value without a file: never read again.
        text: what the file said when `value` was parsed.
        parse: text to value; raises ConfigFaults, and nothing else, for a text that is refused.
        what: how faults name the file, like `process.shard_map`.
        swapped: called with the new value when it is in use; on the watching thread. So is `refused`.
    """

    def __init__(
        self,
        path: Path | None,
        value: T,
        *,
        text: str,
        parse: Callable[[str], T],
        what: str,
        swapped: Callable[[T], None],
        refused: Callable[[ConfigFaults], None],
    ) -> None:
        self._path = path
        self._value = value
        # Other files of the directory change too: a file that says the same is not a swap. None: unreadable.
        self._text: str | None = text
        self._parse = parse
        self._what = what
        self._swapped = swapped
        self._refused = refused
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def current(self) -> T:
        """The value in use."""
        return self._value

    def reload(self) -> bool:
        """Read the file again; True when the value was swapped, False when it says the same or is refused."""
        if self._path is None:
            return False
        try:
            text = self._read(self._path)
            if text == self._text:
                return False
            self._text = text
            value = parsed(self._path, text, self._parse)
        except ConfigFaults as error:
            self._refused(error)
            return False
        self._value = value
        self._swapped(value)
        return True

    def start(self, thread_name: str) -> None:
        """Watch the file on a thread of its own; nothing without a file."""
        if self._path is None:
            return
        self._thread = threading.Thread(target=self._watch, args=(self._path,), name=thread_name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching; blocks until the thread has ended."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _read(self, path: Path) -> str:
        try:
            return read_text(path, what=self._what)
        except ConfigFaults:
            # The same text put back is to be told as well: until then the file is refused.
            self._text = None
            raise

    def _watch(self, path: Path) -> None:
        # The directory, not the file: editors, ConfigMaps and `mv` replace the file, and a watch on the old
        # inode never fires again.
        for _ in watch(
            path.parent,
            stop_event=self._stop,
            debounce=_DEBOUNCE_MS,
            # How often it wakes to look: its own 50 ms were a tenth of what an idle process costs.
            step=_STEP_MS,
            rust_timeout=500,
            recursive=False,
            raise_interrupt=False,
        ):
            self.reload()


def read_text(path: Path, *, what: str) -> str:
    """The text of a file. Raises ConfigFaults, which say `what = path`: it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigFaults([f"{what} = {path}: cannot be read: {error}"]) from error


def parsed(path: Path, text: str, parse: Callable[[str], T]) -> T:
    """What the text of a file says. Raises ConfigFaults, each fault with the file's name."""
    try:
        return parse(text)
    except ConfigFaults as error:
        raise ConfigFaults([f"{path}: {fault}" for fault in error.faults]) from None
