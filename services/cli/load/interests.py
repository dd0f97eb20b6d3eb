"""How much a pin is of each interest: as its row says, and by the keywords in its texts.

A row names its interests, each with a weight of 1 unless it gives others. A file of keywords
(`--interest-keywords`: keyword, interest, weight) adds the weight of each keyword that stands in the title,
the description or the keywords of a pin, once however often it stands there. What comes together for one
interest is added up, at most 1; the 16 that weigh most stay, the closest first.
A keyword is one or more whole words, without regard to case: `Sea` finds "by the SEA." and not "season". A
word is a run of letters, digits and their marks, after Unicode's NFKC and case folding; in scripts that put
no space between words, that is a whole run of text.
Next: `rows.py`.
"""

from __future__ import annotations

import csv
import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from services.cli.faults import UsageFault
from services.cli.load.columns import Row, list_of, number_of
from services.cli.load.faults import RowFault

INTERESTS_MAX: Final = 16
"""Of one pin, as Ingest takes them."""
_COLUMNS: Final = ("keyword", "interest")
_WEIGHTS: Final = "interest_weights"
_ASCII_WORDS: Final = re.compile(r"[a-z0-9]+")


def written_interests(row: Row) -> list[tuple[Any, float]]:
    """Interests of a row as they are written, each with its weight, over 0 and at most 1.

    Either `interests` maps them to weights, or it lists them and `interest_weights` has as many weights.
    Raises RowFault.
    """
    column = row.get("interests")
    if isinstance(column, Mapping):
        names, weights = list(column), list(column.values())
        if row.get(_WEIGHTS) not in (None, ""):
            raise RowFault("interest_weights is given, and interests has weights of its own; give one")
    else:
        names, weights = list_of(row, "interests"), list_of(row, _WEIGHTS)
        if weights and len(weights) != len(names):
            raise RowFault(
                f"interest_weights has {len(weights)} weights for {len(names)} interests; give each one"
            )
    if len(names) > INTERESTS_MAX:
        raise RowFault(f"interests has {len(names)} of them; at most {INTERESTS_MAX}")
    if not weights:
        return [(name, 1.0) for name in names]
    return [
        (name, _weight({_WEIGHTS: weight}, _WEIGHTS)) for name, weight in zip(names, weights, strict=True)
    ]


def heaviest(interests: Iterable[tuple[int, str, float]]) -> list[tuple[int, str, float]]:
    """(id, name, weight) with each id once, its weights added up to at most 1: the heaviest, heaviest first;
    equal ones as they came."""
    together: dict[int, tuple[str, float]] = {}
    for id_, name, weight in interests:
        known_name, known = together.get(id_, (name, 0.0))
        together[id_] = known_name, min(1.0, known + weight)
    found = [(id_, name, weight) for id_, (name, weight) in together.items()]
    return sorted(found, key=lambda one: -one[2])[:INTERESTS_MAX]


@dataclass(frozen=True, slots=True)
class _Keyword:
    words: tuple[str, ...]
    interest: str
    weight: float


class KeywordInterests:
    """Keywords and the interests that they tell of."""

    def __init__(self, rows: Iterable[tuple[str, str, float]], *, fingerprint: str = "") -> None:
        self.fingerprint = fingerprint
        """Of the file: with other keywords, a file that was loaded gives other interests."""
        self._by_first: dict[str, list[_Keyword]] = {}
        for keyword, interest, weight in rows:
            words = tuple(words_of(keyword))
            if not words:
                raise RowFault(f"keyword is {keyword!r}, which has no letter or digit")
            self._by_first.setdefault(words[0], []).append(_Keyword(words, interest, weight))

    @classmethod
    def open(cls, path: Path) -> KeywordInterests:
        """Read a CSV file with the columns keyword, interest and, optionally, weight.

        Raises:
            UsageFault: it cannot be read, or rows of it are faulty; the text has the first.
        """
        try:
            data = path.read_bytes()
            rows = list(csv.DictReader(data.decode("utf-8-sig").splitlines()))
        except (OSError, UnicodeDecodeError, csv.Error) as fault:
            raise UsageFault(f"{path} cannot be read: {fault}") from fault
        fingerprint = hashlib.sha256(data).hexdigest()[:12]
        read: list[tuple[str, str, float]] = []
        for number, row in enumerate(rows, 1):
            try:
                read.append(_keyword_row(row))
                # One at a time, so that a fault has its row.
                cls(read[-1:])
            except RowFault as fault:
                raise UsageFault(f"{path}, row {number}: {fault}; see docs/loading.md") from fault
        return cls(read, fingerprint=fingerprint)

    def of(self, texts: Iterable[str]) -> list[tuple[str, float]]:
        """Interests that these texts tell of, with the weight of each keyword that stands in one of them."""
        found: dict[_Keyword, None] = {}
        for text in texts:
            words = words_of(text)
            for at, word in enumerate(words):
                for keyword in self._by_first.get(word, ()):
                    if tuple(words[at : at + len(keyword.words)]) == keyword.words:
                        found[keyword] = None
        return [(keyword.interest, keyword.weight) for keyword in found]


def words_of(text: str) -> Sequence[str]:
    """The words of a text, for comparison only."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    if folded.isascii():
        return _ASCII_WORDS.findall(folded)
    return ["".join(run) for is_word, run in groupby(folded, key=_is_of_a_word) if is_word]


def _is_of_a_word(char: str) -> bool:
    # Vowel signs and accents are marks: without them a word of Hindi or Thai would fall into pieces.
    return char.isalnum() or unicodedata.category(char).startswith("M")


def _keyword_row(row: Mapping[str, str | None]) -> tuple[str, str, float]:
    for column in _COLUMNS:
        if not (row.get(column) or "").strip():
            raise RowFault(f"{column} is missing")
    return (row["keyword"] or "").strip(), (row["interest"] or "").strip(), _weight(row, "weight")


def _weight(row: Row, column: str) -> float:
    weight = number_of(row, column, least=0.0, most=1.0, default=1.0)
    if not weight:
        raise RowFault(f"{column} holds a 0; leave out what weighs nothing")
    return weight
