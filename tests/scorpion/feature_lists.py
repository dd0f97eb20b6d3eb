"""A list of features with every source, transform, reduce and type, and requests drawn for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.scorpion.feature_file import parse_feature_list
from services.scorpion.features import Candidates, FeatureList, RowKind, Signal, StaticRows

EVERY = """
[[feature]]
name = "interest"
source = "signal.interest"
match = ["interest_0", "interest_1"]

[[feature]]
name = "quality"
source = "pin.quality"
default = 0.5

[[feature]]
name = "language"
source = "pin.language"
type = "category"

[[feature]]
name = "board_size"
source = "board.size"
transform = "log1p"
default = 3.0

[[feature]]
name = "saves"
source = "count.saves"
transform = "log1p"

[[feature]]
name = "save_rate"
source = "ratio"
of = "saves"
per = "impressions"
smoothing = 20.0

[[feature]]
name = "owner_age"
source = "owner.age"
transform = "clip"
low = -1.0
high = 9.0
default = 99.0

[[feature]]
name = "country"
source = "user.country"
type = "category"
default = 2

[[feature]]
name = "age_of_user"
source = "user.age"

[[feature]]
name = "board_topic"
source = "board.topic"
type = "category"

[[feature]]
name = "light_score"
source = "candidate.light_score"

[[feature]]
name = "age_hours"
source = "candidate.age_hours"
transform = "log1p"
default = 168.0

[[feature]]
name = "affinity"
source = "candidate.affinity"
default = 1.0

[[feature]]
name = "visits"
source = "candidate.visits"
transform = "log1p"

[[feature]]
name = "nearness"
source = "candidate.nearness"
default = -3.0

[[feature]]
name = "hour"
source = "context.hour_of_week"
type = "category"

[[feature]]
name = "board_weight"
source = "signal.weight"
match = ["board", "owner", "pin"]
reduce = "max"

[[feature]]
name = "board_weight_sum"
source = "signal.weight"
match = ["board", "owner", "pin"]
default = -5.0

[[feature]]
name = "seen"
source = "signal.seen"
match = ["pin"]
reduce = "any"
default = 0.25

[[feature]]
name = "saves_7d"
source = "signal.actions"
id = 4
transform = "clip"
low = 0.0
high = 2.0
"""
COLUMNS = {
    RowKind.PIN: ("quality", "language", "saves", "impressions"),
    RowKind.BOARD: ("size", "topic"),
    RowKind.OWNER: ("age",),
    RowKind.USER: ("country", "age"),
}
"""What a row's values are, by kind; of pins the counters last."""
ID_COLUMNS = ("interest_0", "interest_1", "board", "owner")


@dataclass(frozen=True)
class Request:
    """One user's request, with the rows that the stores have; a row that is in no table is unknown."""

    user: int
    candidates: Candidates
    pin_ids: NDArray[np.uint64]
    """(candidate, id column)."""
    rows: Mapping[RowKind, Mapping[int, NDArray[np.float32]]]
    signals: Mapping[str, Signal]
    now_ms: int

    def values(self, kind: RowKind, ids: NDArray[np.uint64]) -> NDArray[np.float32]:
        """Rows by id, NaN where there is none."""
        unknown = np.full(len(COLUMNS[kind]), np.nan, dtype=np.float32)
        if not ids.size:
            return np.empty((0, unknown.size), dtype=np.float32)
        return np.stack([self.rows[kind].get(id, unknown) for id in ids.tolist()])

    @property
    def static(self) -> StaticRows:
        """The candidates' own rows."""
        return StaticRows(self.values(RowKind.PIN, self.candidates.pins), self.pin_ids)


def every() -> FeatureList:
    """The list with every kind of feature."""
    return parse_feature_list(EVERY)


FLOATS = st.one_of(
    st.floats(width=32, allow_nan=True, allow_infinity=True),
    st.sampled_from([-1.0, 0.0, 1.0, 2.0, 16_777_215.0, 16_777_216.0, 3.4e38]),
)
IDS = st.integers(0, 6)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """With everything that may be missing missing at times, NaN and infinities included."""
    count = draw(st.integers(1, 6))

    def floats(size: int) -> NDArray[np.float32]:
        return np.array(draw(st.lists(FLOATS, min_size=size, max_size=size)), dtype=np.float32)

    def ids(size: int) -> NDArray[np.uint64]:
        return np.array(draw(st.lists(IDS, min_size=size, max_size=size)), dtype=np.uint64)

    def known(size: int) -> int:
        return size if draw(st.booleans()) else 0

    times = st.lists(st.integers(0, 2**31), min_size=count, max_size=count)
    candidates = Candidates(
        ids(count) + np.uint64(1),
        floats(known(count)),
        np.array(draw(times)[: known(count)], dtype=np.uint32),
        ids(known(count)),
        ids(known(count)),
        floats(known(count)),
        {name: floats(count) for name in ("visits", "nearness", "unread") if draw(st.booleans())},
    )
    signals = {}
    for name in ("interest", "weight", "seen", "actions"):
        size = draw(st.integers(0, 6))
        if draw(st.booleans()):
            signals[name] = Signal(ids(size), floats(size))
    rows = {
        kind: {id: floats(len(columns)) for id in range(1, 8) if draw(st.booleans())}
        for kind, columns in COLUMNS.items()
    }
    return Request(
        user=draw(st.integers(1, 3)),
        candidates=candidates,
        pin_ids=ids(count * len(ID_COLUMNS)).reshape(count, -1),
        rows=rows,
        signals=signals,
        now_ms=draw(st.integers(0, 2**41)),
    )
