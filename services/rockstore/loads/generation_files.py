"""Where generations of loaded rows lie on a host's disk, and which of them is live.

    generations/<kind>/
      live.json           {"live": 8, "before": [6, 5]}: replaced whole; what it names is what is answered
      000008/             a generation, complete: manifest.json, and db/, a RocksDB with one family `rows`
      000009.loading/     one that is being loaded; removed at the next start
      000004.dropped/     one that is being removed; so is the rest of it

A generation gets its name by one rename after all of it is on the disk, and becomes live by one rename of
`live.json`. So kill -9 at any moment leaves the old generation live, or the new one.
Next: `generations.py`, which opens them.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.chassis.errors import CorruptValue
from services.rockstore.loads.prepared import sync_folder, write_durably

LIVE: Final = "live.json"
DATABASE: Final = "db"
_LOADING: Final = ".loading"
_DROPPED: Final = ".dropped"
NONE: Final = 0
"""Number of no generation: only rows that were written one by one are answered."""


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which generation is live, and which were before it."""

    live: int = NONE
    before: tuple[int, ...] = ()
    """Latest first: where a rollback leads."""

    def activated(self, number: int, *, kept_max: int) -> Pointer:
        """After a swap to `number`, with at most `kept_max` to roll back to."""
        before = (self.live, *self.before) if self.live != NONE else self.before
        return Pointer(number, tuple(old for old in before if old != number)[:kept_max])

    def rolled_back(self, number: int) -> Pointer:
        """After a rollback to `number`: what came after it is no way back any more.

        To one that is not before the live one (forward again), the live one becomes the way back; to none,
        there is no way back but by number.
        """
        if number in self.before:
            return Pointer(number, self.before[self.before.index(number) + 1 :])
        if number == NONE:
            return Pointer()
        return Pointer(number, (self.live, *self.before) if self.live != NONE else self.before)


class GenerationFolder:
    """The folder of one kind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def clean(self) -> None:
        """Make the folder, and remove what a process that was ended left half done."""
        self.path.mkdir(parents=True, exist_ok=True)
        for child in self.path.iterdir():
            if child.suffix in (_LOADING, _DROPPED):
                shutil.rmtree(child)

    def numbers(self) -> list[int]:
        """Complete generations, ascending."""
        return sorted(int(child.name) for child in self.path.iterdir() if child.name.isdigit())

    def of(self, number: int) -> Path:
        """Where a complete generation lies."""
        return self.path / f"{number:06d}"

    def begin(self) -> tuple[int, Path]:
        """Number and folder of a new generation, to be filled and then completed."""
        number = max([NONE, *self.numbers(), *self.read().before, self.read().live]) + 1
        loading = self.of(number).with_suffix(_LOADING)
        shutil.rmtree(loading, ignore_errors=True)
        loading.mkdir()
        return number, loading

    def complete(self, number: int, loading: Path) -> None:
        """Give a filled generation its name."""
        sync_folder(loading)
        loading.rename(self.of(number))
        sync_folder(self.path)

    def drop(self, number: int) -> None:
        """Remove a generation that nobody reads."""
        # Renamed first: a half removed one must not be taken for complete.
        dropped = self.of(number).with_suffix(_DROPPED)
        self.of(number).rename(dropped)
        shutil.rmtree(dropped)

    def read(self) -> Pointer:
        """Which is live.

        Raises:
            CorruptValue: the pointer cannot be read.
        """
        path = self.path / LIVE
        if not path.exists():
            return Pointer()
        try:
            document = json.loads(path.read_text())
            return Pointer(int(document["live"]), tuple(int(number) for number in document["before"]))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise CorruptValue(
                f"{path} cannot be read: write which generation is live, or remove it", path=path
            ) from error

    def write(self, pointer: Pointer) -> None:
        """Swap: from here on `pointer` is what is answered, also after kill -9."""
        write_durably(self.path / LIVE, json.dumps({"live": pointer.live, "before": list(pointer.before)}))
