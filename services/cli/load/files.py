"""Files of rows: JSONL, one object a line; CSV, one kind a file.

Owns how a row is found and counted, so that a fault can name its line and a load can go on where it stopped.
The kind of a row is its `type` column; without one it is the file's name (`pins.csv`, `board.jsonl`, …).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.cli.faults import UsageFault
from services.cli.load.columns import Row
from services.cli.load.faults import RowFault
from services.cli.load.rows import KINDS

SUFFIXES: Final = (".jsonl", ".ndjson", ".csv")


@dataclass(frozen=True)
class PlacedRow:
    """A row and where it stands."""

    number: int
    """1 for the file's first row; a CSV's header is not counted."""
    kind: str
    row: Row


def files_of(paths: list[Path]) -> list[Path]:
    """The files to load, in an order in which what is referred to comes first (users before boards …).

    Raises:
        UsageFault: a path is not there, or is no file of rows.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
            if not inside:
                raise UsageFault(f"{path} has no {', '.join(SUFFIXES)} files")
            found += sorted(inside, key=_order)
        elif not path.exists():
            raise UsageFault(f"{path} does not exist")
        elif path.suffix not in SUFFIXES:
            raise UsageFault(f"{path} is not one of {', '.join(SUFFIXES)}")
        else:
            found.append(path)
    return found


def rows_of(path: Path) -> Iterator[PlacedRow | tuple[int, RowFault]]:
    """The rows of a file in order; a line that cannot be read comes as its number and fault."""
    kind = kind_of(path)
    source = _csv_rows(path) if path.suffix == ".csv" else _json_rows(path)
    for number, row in source:
        if isinstance(row, RowFault):
            yield number, row
        else:
            yield PlacedRow(number, str(row.get("type") or kind), row)


def kind_of(path: Path) -> str:
    """The kind that a file's name tells of: `users.csv` has users; empty when it tells of none."""
    stem = path.stem.lower()
    return next((kind for kind in KINDS if stem in (kind, f"{kind}s")), "")


def _order(path: Path) -> tuple[int, str]:
    kind = kind_of(path)
    return (KINDS.index(kind) if kind else len(KINDS), path.name)


def _json_rows(path: Path) -> Iterator[tuple[int, Row | RowFault]]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as fault:
                yield number, RowFault(f"not JSON: {fault}")
                continue
            yield number, row if isinstance(row, dict) else RowFault("not a JSON object")


def _csv_rows(path: Path) -> Iterator[tuple[int, Row | RowFault]]:
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        for number, row in enumerate(reader, 1):
            if None in row or None in row.values():
                yield number, RowFault(f"has not the header's {len(reader.fieldnames or ())} columns")
            else:
                yield number, row
