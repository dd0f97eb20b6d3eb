"""Ids as people write them: integers, or strings that are hashed to 64 bits.

Owns the check that no two names share an id. A collision of 64-bit hashes is improbable (odds of 1 in 37
million among a million names), and silent damage when it happens: two boards would become one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from services.chassis.ids import string_id
from services.cli.load.faults import RowFault

ID_MAX: Final = 2**64 - 1


class Names:
    """Which name each id was written as, by kind; remembers every id of a load."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], str | None] = {}

    def id_of(self, kind: str, written: object, *, column: str) -> int:
        """The 64-bit id.

        Raises:
            RowFault: not an id, or another name of this kind has the same 64 bits.
        """
        name: str | None = None
        if isinstance(written, bool) or not isinstance(written, int | str) or written == "":
            raise RowFault(f"{column} is {written!r}; an id is a positive integer or a string")
        if isinstance(written, int):
            id_ = written
        elif written.isdecimal():
            id_ = int(written)
        else:
            name, id_ = written, string_id(written)
        if not 1 <= id_ <= ID_MAX:
            raise RowFault(f"{column} is {written}; integer ids are 1 to 2^64 - 1")
        known = self._names.setdefault((kind, id_), name)
        if known != name:
            raise RowFault(
                f"{column}: {kind} {name or id_!r} and {kind} {known or id_!r} have the same 64-bit id "
                f"{id_}; rename one of them"
            )
        return id_

    def name_of(self, kind: str, id_: int) -> str:
        """The string that an id was written as; empty for integers."""
        return self._names.get((kind, id_)) or ""

    def named(self, kind: str) -> Iterator[tuple[int, str]]:
        """Every id of a kind that was written as a string."""
        for (of, id_), name in self._names.items():
            if of == kind and name:
                yield id_, name
