"""The feature log as rows: read from every Scorpion of a mesh, of features that mean what they mean now.

A page's pins are scored by the host of each pin, so a request may lie in the logs of several; rows are
brought together by its number. Rows of another feature list are passed over, and counted, when a feature that
is wanted is absent or meant something else; a list that has more, or has them in another order, will do.
Rows are the newest `rows_max`, whole requests, in the order: time, request, place on the page. That order
depends on what the files hold and not on how it is spread over them, so whatever is computed repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.cli.mesh.layout import Layout
from services.scorpion.feature_log_files import LoggedRows, read_feature_log

FOREVER_MS: Final = 2**62

_COLUMNS: Final = tuple(
    field.name for field in fields(LoggedRows) if field.name not in ("names", "digests", "features")
)


@dataclass(frozen=True, slots=True)
class FeatureRows:
    """Rows of whole requests; those of one request stand together."""

    rows: LoggedRows | None
    """None: there are none. The columns of `features` are those that were asked for, in that order."""
    other_count: int
    """Rows of other features, which were passed over."""
    changed: tuple[str, ...]
    """Features for whose sake they were: absent there, or of another meaning."""

    def __len__(self) -> int:
        return 0 if self.rows is None else len(self.rows)

    @property
    def requests(self) -> NDArray[np.int64]:
        """Number of the request of each row, 0 first; ascending."""
        if self.rows is None:
            return np.empty(0, np.int64)
        return request_numbers(self.rows)


def log_folders(layout: Layout) -> list[Path]:
    """Where the Scorpions of a mesh log."""
    return [layout.feature_log_dir(process) for process in layout.processes if process.service == "scorpion"]


def read_rows(
    folders: Iterable[Path],
    digests: Mapping[str, str],
    *,
    from_ms: int = 0,
    until_ms: int = FOREVER_MS,
    rows_max: int,
) -> FeatureRows:
    """Rows served in `from_ms` ≤ t < `until_ms` that have the features of `digests`, by name.

    Some 400 bytes a row of 64 features, for each folder up to `rows_max`. Raises CorruptValue on a damaged
    file.
    """
    groups: list[LoggedRows] = []
    cut = False
    for folder in folders:
        found = read_feature_log(folder, from_ms=from_ms, until_ms=until_ms, rows_max=rows_max)
        cut = cut or sum(len(group) for group in found) >= rows_max
        groups += found
    fitting = [_with_columns(group, tuple(digests)) for group in groups if not changed_in(group, digests)]
    others = [group for group in groups if changed_in(group, digests)]
    return FeatureRows(
        rows=_newest(_ordered(_joined(fitting)), rows_max, cut=cut) if fitting else None,
        other_count=sum(len(group) for group in others),
        changed=tuple(sorted({name for group in others for name in changed_in(group, digests)})),
    )


def changed_in(rows: LoggedRows, digests: Mapping[str, str]) -> list[str]:
    """Features that the rows lack, or hold with another meaning."""
    return [name for name, digest in digests.items() if rows.digests.get(name) != digest]


def request_numbers(rows: LoggedRows) -> NDArray[np.int64]:
    """Number of the request of each row, 0 first; ascending when the rows are in order."""
    new = np.r_[True, (rows.log_ids[1:] != rows.log_ids[:-1]) | (rows.served_ms[1:] != rows.served_ms[:-1])]
    return np.cumsum(new[: len(rows)]).astype(np.int64) - 1


def taken(rows: LoggedRows, chosen: NDArray[np.intp]) -> LoggedRows:
    """The chosen rows, in that order."""
    columns = {name: getattr(rows, name)[chosen] for name in _COLUMNS}
    return LoggedRows(**columns, features=rows.features[chosen], names=rows.names, digests=rows.digests)


def _with_columns(rows: LoggedRows, names: tuple[str, ...]) -> LoggedRows:
    if rows.names == names:
        return rows
    places = [rows.names.index(name) for name in names]
    return replace(
        rows,
        features=np.ascontiguousarray(rows.features[:, places]),
        names=names,
        digests={name: rows.digests[name] for name in names},
    )


def _joined(parts: Sequence[LoggedRows]) -> LoggedRows:
    if len(parts) == 1:
        return parts[0]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    features = np.concatenate([part.features for part in parts])
    return LoggedRows(**columns, features=features, names=parts[0].names, digests=parts[0].digests)


def _ordered(rows: LoggedRows) -> LoggedRows:
    return taken(rows, np.lexsort((rows.pins, rows.positions, rows.log_ids, rows.served_ms)))


def _newest(rows: LoggedRows, rows_max: int, *, cut: bool) -> LoggedRows:
    """The last whole requests. `cut`: the reading stopped at its bound, maybe within a request."""
    if not cut and len(rows) <= rows_max:
        return rows
    requests = request_numbers(rows)
    first = int(requests[max(0, len(rows) - rows_max)])
    return taken(rows, np.flatnonzero(requests > first))
