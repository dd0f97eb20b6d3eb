"""Generations of loaded rows: whole sets of a kind's rows that are swapped in and rolled back as one.

A load is staged (files copied, checked, ingested into a database of its own), then activated: one pointer
moves, on the disk and then in memory. A read leases the live generation for its duration, so it sees all of
one generation and nothing of another, and one that is dropped is closed when its last reader has left.
Rows that are written one by one lie elsewhere (`store.py`) and stand against loaded ones by version.
A generation is not part of a checkpoint of the store: copy its folder, or load again.
Next: `generation_files.py` (what is on the disk), `staging.py` (staging).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import CorruptValue, Exhausted, NotFound
from services.chassis.storage import Family, StorageMemory, Store, loaded_family
from services.rockstore.loads.generation_files import DATABASE, NONE, GenerationFolder, Pointer
from services.rockstore.loads.prepared import LoadManifest
from services.rockstore.schema import Kind

LOADED: Final = "rows"
CHANGING_WAIT_S: Final = 1.0
"""How long a swap waits for another change: staging takes minutes, and a thread of the server is held."""
LOADED_FAMILIES: Final[Mapping[str, Family]] = {LOADED: loaded_family()}


class LoadInProgress(Exhausted):
    """Another load is being staged; they come one after the other."""

    retry_after_ms = 5_000


class NoSuchGeneration(NotFound):
    """The generation is not on this host, or there is none to go back to."""


@dataclass(slots=True, eq=False)
class Generation:
    """A complete generation, open for reads."""

    number: int
    manifest: LoadManifest
    store: Store
    reader_count: int = 0
    dropped: bool = False

    def values(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Cells in the order of `keys`; None where it has none."""
        return self.store.multi_get(LOADED, keys)


@dataclass(frozen=True, slots=True)
class Lease:
    """The live generation, for one read."""

    number: int
    loaded: Generation | None
    """None: nothing is loaded."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A kind's generations on this host."""

    pointer: Pointer
    manifests: Mapping[int, LoadManifest]
    """By number, ascending."""


@dataclass(slots=True)
class _Kind:
    folder: GenerationFolder
    pointer: Pointer = field(default_factory=Pointer)
    open: dict[int, Generation] = field(default_factory=dict)


class Generations:
    """All generations of a host, by kind. Safe from any thread."""

    def __init__(self, path: Path, *, memory: StorageMemory, kept_max: int) -> None:
        self._memory = memory
        self._kept_max = kept_max
        self._lock = threading.Lock()
        """Of pointers, tables and reader counts; nothing slow is done under it."""
        self._changing = threading.Lock()
        self._listeners: list[Callable[[int, int], None]] = []
        self._kinds = {int(kind): _Kind(GenerationFolder(path / kind.name.lower())) for kind in Kind}
        for state in self._kinds.values():
            state.folder.clean()
            state.pointer = state.folder.read()
            self._open_all(state)

    def on_swap(self, listener: Callable[[int, int], None]) -> None:
        """Call `listener(kind, number)` right after each swap, before the swap's caller hears of it."""
        self._listeners.append(listener)

    @contextmanager
    def changing(self, *, wait_s: float = CHANGING_WAIT_S) -> Iterator[None]:
        """Hold to stage, activate or roll back: one after the other.

        Raises:
            LoadInProgress: another holds it, and did not leave in time.
        """
        if not self._changing.acquire(timeout=wait_s):
            raise LoadInProgress("a load is being staged on this host: wait until it is done")
        try:
            yield
        finally:
            self._changing.release()

    @contextmanager
    def lease(self, kind: int) -> Iterator[Lease]:
        """The live generation, which stays open until the block ends."""
        state = self._kinds[kind]
        with self._lock:
            generation = state.open.get(state.pointer.live)
            if generation is not None:
                generation.reader_count += 1
        try:
            yield Lease(NONE if generation is None else generation.number, generation)
        finally:
            if generation is not None:
                self._leave(state, generation)

    def live_number(self, kind: int) -> int:
        """Which generation is live; 0: none."""
        return self._kinds[kind].pointer.live

    def live_version(self, kind: int) -> tuple[int, int]:
        """The live generation, and the version of its rows; (0, 0) when there is none."""
        state = self._kinds[kind]
        with self._lock:
            generation = state.open.get(state.pointer.live)
            return (NONE, 0) if generation is None else (generation.number, generation.manifest.version)

    def list(self, kind: int) -> Listed:
        """What is on this host."""
        state = self._kinds[kind]
        with self._lock:
            manifests = {number: state.open[number].manifest for number in sorted(state.open)}
            return Listed(state.pointer, manifests)

    def covers(self, kind: int, keys: Sequence[bytes], versions: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether any generation, live or not, has a row for a key that is not newer than its version.

        Such a row comes to light when what lies over it is removed.
        """
        state = self._kinds[kind]
        covered = np.zeros(len(keys), np.bool_)
        with self._lock:
            generations = [one for one in state.open.values() if not one.dropped]
            for one in generations:
                one.reader_count += 1
        for one in generations:
            try:
                older = np.flatnonzero(versions >= np.uint64(one.manifest.version))
                found = one.values([keys[place] for place in older.tolist()])
                covered[older] |= [value is not None for value in found]
            finally:
                self._leave(state, one)
        return covered

    def folder(self, kind: int) -> GenerationFolder:
        """Where a kind's generations lie; to be written under `changing`."""
        return self._kinds[kind].folder

    def staged(self, kind: int, number: int) -> None:
        """Open a generation that was completed. Not live yet. Under `changing`."""
        state = self._kinds[kind]
        generation = self._opened(state, number)
        with self._lock:
            state.open[number] = generation

    def activate(self, kind: int, number: int) -> Listed:
        """Make a staged generation live, and drop what is beyond those to keep.

        Raises:
            NoSuchGeneration: it is not on this host.
        """
        with self.changing():
            state = self._kinds[kind]
            if number not in state.open:
                raise NoSuchGeneration(f"generation {number} is not on this host", generation=number)
            if number != state.pointer.live:
                self._swap(kind, state.pointer.activated(number, kept_max=self._kept_max))
            kept = {number, *state.pointer.before}
            # Staged and never activated, or rolled back from: a later load is in their place now.
            for old in [one for one in state.open if one not in kept]:
                self._drop(state, old)
            return self.list(kind)

    def roll_back(self, kind: int, number: int | None = None) -> Listed:
        """Make the generation before the live one live again, or `number`; 0: none. Drops nothing.

        Raises:
            NoSuchGeneration: there is none before, or `number` is not on this host.
        """
        with self.changing():
            state = self._kinds[kind]
            if number is None and not state.pointer.before:
                raise NoSuchGeneration(
                    "there is no generation to go back to; name 0 to answer without loaded rows"
                )
            target = state.pointer.before[0] if number is None else number
            if target != NONE and target not in state.open:
                raise NoSuchGeneration(f"generation {target} is not on this host", generation=target)
            if target != state.pointer.live:
                self._swap(kind, state.pointer.rolled_back(target))
            return self.list(kind)

    def close(self) -> None:
        """Close every generation; no reader is left."""
        with self._lock:
            for state in self._kinds.values():
                for generation in state.open.values():
                    generation.store.close()
                state.open.clear()

    def _swap(self, kind: int, pointer: Pointer) -> None:
        state = self._kinds[kind]
        state.folder.write(pointer)
        with self._lock:
            state.pointer = pointer
        # A read that comes between finds a cache of another generation than its own, and passes it by.
        for listener in self._listeners:
            listener(kind, pointer.live)

    def _drop(self, state: _Kind, number: int) -> None:
        with self._lock:
            generation = state.open.pop(number)
            generation.dropped = True
            idle = generation.reader_count == 0
        if idle:
            self._remove(state, generation)

    def _leave(self, state: _Kind, generation: Generation) -> None:
        with self._lock:
            generation.reader_count -= 1
            last = generation.dropped and generation.reader_count == 0
        if last:
            self._remove(state, generation)

    def _remove(self, state: _Kind, generation: Generation) -> None:
        generation.store.close()
        state.folder.drop(generation.number)

    def _open_all(self, state: _Kind) -> None:
        for number in state.folder.numbers():
            state.open[number] = self._opened(state, number)
        missing = {state.pointer.live, *state.pointer.before} - {NONE, *state.open}
        if state.pointer.live in missing:
            raise CorruptValue(
                f"{state.folder.path} has lost its live generation {state.pointer.live}: restore its "
                "folder, or remove live.json to answer without loaded rows",
                path=state.folder.path,
            )
        before = tuple(number for number in state.pointer.before if number not in missing)
        state.pointer = Pointer(state.pointer.live, before)

    def _opened(self, state: _Kind, number: int) -> Generation:
        path = state.folder.of(number)
        store = Store(path / DATABASE, LOADED_FAMILIES, memory=self._memory)
        return Generation(number, LoadManifest.read(path), store)
