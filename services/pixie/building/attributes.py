"""What is known of pins, brought into the order of their rows: classes for biased walks, topics for pruning.

Topics are interests. All of this is sized by the pins: 2 bytes of class each in memory, topics in files.
More names than a class or a topic has numbers (65,535): those of most pins are kept, the rest is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.pixie.building.array_files import ArrayWriter, mapped
from services.pixie.building.external_sort import ExternalSort
from services.pixie.building.ids import IdRows
from services.pixie.building.options import Bias
from services.pixie.building.pruning_kernels import Topics
from services.pixie.building.source import Advance, AttributeChunk
from services.pixie.graph_files import CLASSES_MAX

TOPICS_MAX: Final = 16
"""Interests of a pin that count, as in events."""
_RECORD: Final = np.dtype([("language", "<u4"), ("topic_count", "<u4"), ("topics", "<u4", (TOPICS_MAX,))])
_NONE: Final = ("",)


@dataclass(frozen=True, slots=True)
class PinAttributes:
    """By pin row."""

    classes: NDArray[np.uint16]
    """(pin_count,): 0: none."""
    class_names: tuple[str, ...]
    topics: Topics | None
    """None when no pin has any."""
    topic_count: int
    """Topics are numbers below it."""
    known_count: int
    """Pins of the graph of which something was told."""


class _Vocabulary:
    """Names by number, from 1, in order of arrival, and on how many pins each was."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._counts: Counter[int] = Counter()

    def number(self, name: str) -> int:
        """Its number; 0 for the empty name."""
        if not name:
            return 0
        number = self._numbers.setdefault(name, len(self._numbers) + 1)
        self._counts[number] += 1
        return number

    def ranked(self, most: int) -> tuple[tuple[str, ...], NDArray[np.uint32]]:
        """The names of most pins, and by number its place among them, from 1; 0: not among them."""
        order = sorted(self._numbers, key=lambda name: (-self._counts[self._numbers[name]], name))[:most]
        places = np.zeros(len(self._numbers) + 1, np.uint32)
        for place, name in enumerate(order, start=1):
            places[self._numbers[name]] = place
        return tuple(order), places


class AttributeCollector:
    """Takes attributes in any order; a later one of a pin goes before an earlier one."""

    def __init__(self, folder: Path, *, memory_bytes: int) -> None:
        self._folder = folder
        self._languages, self._interests = _Vocabulary(), _Vocabulary()
        self._records = ArrayWriter(folder / "attributes", _RECORD)
        self._sort = ExternalSort(folder / "attributes.runs", memory_bytes=memory_bytes, keeps_states=True)

    def add(self, chunk: AttributeChunk) -> None:
        """Take the attributes of some pins."""
        records = np.zeros(chunk.pins.size, _RECORD)
        records["language"] = [self._languages.number(name) for name in chunk.languages]
        for place, names in enumerate(chunk.interests):
            numbers = [self._interests.number(name) for name in dict.fromkeys(names) if name][:TOPICS_MAX]
            records["topic_count"][place] = len(numbers)
            records["topics"][place, : len(numbers)] = numbers
        # The state is the place of the record: the greatest is the last one. Its lowest bit is not a time's.
        places = np.arange(self._records.count, self._records.count + records.size, dtype=np.uint64)
        self._records.append(records)
        self._sort.add(chunk.pins, places << np.uint64(1))

    def finish(self, pins: IdRows, bias: Bias, advance: Advance) -> PinAttributes:
        """Everything by pin row."""
        self._records.finish()
        records = mapped(self._records.path, _RECORD)
        language_names, language_places = self._languages.ranked(CLASSES_MAX - 1)
        interest_names, interest_places = self._interests.ranked(CLASSES_MAX - 1)
        classes = np.zeros(len(pins), np.uint16)
        topics = _TopicWriter(self._folder, len(pins))
        known_count = 0
        for rows, found in self._in_order(pins, records):
            known_count += rows.size
            places = interest_places[found["topics"]]
            if bias is Bias.LANGUAGE:
                classes[rows] = language_places[found["language"]]
            elif bias is Bias.INTEREST:
                classes[rows] = places[:, 0]
            topics.append(rows, places)
            advance(rows.size)
        names: Sequence[str] = ()
        if bias is not Bias.NONE:
            names = language_names if bias is Bias.LANGUAGE else interest_names
        return PinAttributes(
            classes=classes,
            class_names=_NONE + tuple(names),
            topics=topics.finish(),
            topic_count=len(interest_names),
            known_count=known_count,
        )

    def _in_order(
        self, pins: IdRows, records: NDArray[Any]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        for piece in self._sort.merged():
            rows = pins.rows(piece.keys)
            there = rows >= 0
            yield rows[there], records[(piece.states[there] >> np.uint64(1)).astype(np.int64)]


class _TopicWriter:
    """Topics of pin rows that come in order."""

    def __init__(self, folder: Path, pin_count: int) -> None:
        self._starts = ArrayWriter(folder / "topics.starts", np.uint64)
        self._topics = ArrayWriter(folder / "topics", np.uint16)
        self._pin_count = pin_count
        self._next = 0

    def append(self, rows: NDArray[np.int64], places: NDArray[np.uint32]) -> None:
        """`places` (row, topic): from 1; 0: none."""
        counts = np.count_nonzero(places, axis=1)
        self._fill(rows, np.cumsum(counts) - counts)
        self._topics.append((places[places > 0] - 1).astype(np.uint16))

    def finish(self) -> Topics | None:
        """All topics; None when there are none."""
        self._fill(np.array([self._pin_count], np.int64), np.zeros(1, np.int64))
        for file in (self._starts, self._topics):
            file.finish()
        if not self._topics.count:
            return None
        return Topics(mapped(self._starts.path, np.uint64), mapped(self._topics.path, np.uint16))

    def _fill(self, rows: NDArray[np.int64], begins: NDArray[np.int64]) -> None:
        """Write the starts of `rows`, and of rows before each of which nothing is known."""
        if not rows.size:
            return
        gaps = np.diff(rows, prepend=self._next - 1)
        self._starts.append((np.repeat(begins, gaps) + self._topics.count).astype(np.uint64))
        self._next = int(rows[-1]) + 1
