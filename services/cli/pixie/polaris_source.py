"""Edges from Polaris' stores: the pins that boards have now, of each as many as Polaris keeps.

Each folder is a host's store or a checkpoint of one; a process that runs is not disturbed. It knows nothing
of languages and interests: those come from a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from services.chassis.storage.reader import StoreReader
from services.pixie.building.source import AttributeChunk, BadSource, EdgeChunk
from services.polaris import store

_CHUNK_ROWS: Final = 200_000
_STORE: Final = "store"


class PolarisSource:
    """A source: the stores of all hosts of a Polaris."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = [_store_of(folder) for folder in folders]

    @property
    def text(self) -> str:
        """Where they are."""
        return f"Polaris' store in {', '.join(str(folder) for folder in self._folders)}"

    @property
    def edge_count(self) -> int | None:
        """Not known before."""
        return None

    def edges(self) -> Iterator[EdgeChunk]:
        """All pins of all boards. Raises StorageFault, CorruptValue."""
        for folder in self._folders:
            with StoreReader(folder, {store.PINS: store.families()[store.PINS]}) as reader:
                for boards, pins in store.pins_of_boards(reader.scan(store.PINS), rows_max=_CHUNK_ROWS):
                    yield EdgeChunk(pins, boards)

    def deleted_boards(self) -> Mapping[int, int]:
        """None: Polaris has deleted them itself."""
        return {}

    def attributes(self) -> Iterator[AttributeChunk] | None:
        """None."""
        return None


def _store_of(folder: Path) -> Path:
    """The store in a process' folder, or the folder itself."""
    if not folder.is_dir():
        raise BadSource(f"{folder} is not there, or is no folder")
    return folder / _STORE if (folder / _STORE).is_dir() else folder
