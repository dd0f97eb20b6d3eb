"""From history to rows of features: the state at every moment, and what serving would have computed.

    history → replay, oldest first ─┬ per session: signals, saves, owners as they stood → request's features
                                    └ per row: which stored rows, after how many counts → rows' features

State is exact for everything that happened; rows are made for all sessions, or for an even sample of them
when there are more than `rows_max`. A session's features are those of the moment before it was shown.
Label: 1 when the same user closed up, clicked or saved the pin within the attribution window after it was
shown and did not hide it; an action belongs to the last time that the pin was shown.
A user who asked to be forgotten teaches nothing: sessions before that are left out.

*Not* the same as serving: Scorpion's counts may be up to its cache's age old, the affinity is always 1, and
columns that only a request knows, such as visits of Pixie's walk, are unknown (`material.unknown_to_log`).
Features of item factors are computed as in serving, from the signal of the moment. The factors themselves
are not of the moment: learned from what was saved until they were built, they may know the very save that a
row is judged by. Build them from pairs of before the held-out days when that matters (docs/models.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.errors import BadRequest
from services.chassis.ids import mix64
from services.cli.train.count_kernels import Asks, counts_at
from services.cli.train.declared import Declared
from services.cli.train.history import Action, History, PutBoard, PutRow, Removed, Saved, Seen
from services.cli.train.labels import Deeds, engaged
from services.cli.train.stored_rows import StoredRowsOfTheMoment
from services.counter.kernels import Increments
from services.realpin.declaration import ActionType
from services.realpin.ingest import Acted, Forgotten
from services.realpin.signals import SignalState
from services.scorpion.features import Candidates, RowKind, Signal
from services.scorpion.training import TrainingData

_IMPRESSION: Final = int(ActionType.IMPRESSION)
_PROGRESS_EVERY: Final = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What becomes a row, and how it is labelled."""

    rows_max: int = 300_000
    """Rows at most; beyond, an even sample of the sessions is taken."""
    window_ms: int = 24 * 3_600_000
    """How long after it was shown an action still counts for it."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """Rows to train on, and what they were made from."""

    data: TrainingData
    shown_count: int
    """Pins shown in all sessions, taken or not."""
    session_count: int


@dataclass(slots=True)
class _Columns:
    """Grows while the replay runs; one entry a row, or one array a session."""

    request: list[NDArray[np.float32]] = field(default_factory=list)
    light: list[NDArray[np.float32]] = field(default_factory=list)
    pins: list[int] = field(default_factory=list)
    places: dict[RowKind, list[int]] = field(default_factory=lambda: {kind: [] for kind in RowKind})
    """Per row: its line in the kind's table of stored rows."""
    saved_s: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    users: list[int] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    """Per session: increments before it."""


def replay(
    history: History, declared: Declared, options: ReplayOptions, progress: Callable[[int, int], None]
) -> Replayed:
    """Rows of every session, or of a sample. Blocks for seconds; `progress` gets done and all happenings.

    Raises BadRequest when nothing was ever shown.
    """
    shown_count, session_count = _shown(history)
    if not shown_count:
        raise BadRequest(
            "the log has no impressions yet: a model learns from pins that were shown and what people did; "
            "publish impressions events (docs/loading.md), or see `feedmesh demo`"
        )
    run = _Replay(history, declared, share=min(1.0, options.rows_max / shown_count))
    for place in range(len(history.happenings)):
        run.step(place)
        if place % _PROGRESS_EVERY == 0:
            progress(place, len(history.happenings))
    progress(len(history.happenings), len(history.happenings))
    if not run.columns.pins:
        raise BadRequest("no session is left to train on: its users asked to be forgotten")
    return Replayed(run.finish(options), shown_count, session_count)


class _Replay:
    """One pass over the history; the state is that of the moment."""

    def __init__(self, history: History, declared: Declared, *, share: float) -> None:
        self._history = history
        self._declared = declared
        self._share_u64 = int(share * float((1 << 64) - 1))
        self._set = declared.signals
        self._numbers = [
            number for number, name in enumerate(self._set.names) if name in declared.features.signals
        ]
        self._rows = StoredRowsOfTheMoment(history, declared)
        columns = declared.features.id_columns
        self._board_column = columns.index("board") if "board" in columns else -1
        self._states: dict[int, SignalState] = {}
        self._saved: dict[tuple[int, int], tuple[int, float]] = {}
        self._owners: dict[int, int] = {}
        self._forgotten = _forgotten(history)
        self._deeds = Deeds()
        self._counted_pins: list[int] = []
        self._counted_actions: list[int] = []
        self._counted_times: list[int] = []
        self.columns = _Columns()

    def step(self, place: int) -> None:
        """Take what happened at `place` into the state."""
        time_ms, happening = self._history.times_ms[place], self._history.happenings[place]
        if isinstance(happening, Seen):
            self._see(place, time_ms, happening)
        elif isinstance(happening, Action):
            self._act(happening.acted, time_ms)
            if happening.counted:
                self._count([happening.acted.pin], happening.acted.action, time_ms)
        elif isinstance(happening, Saved):
            self._save(happening, time_ms)
        elif isinstance(happening, PutRow):
            self._rows.put(happening)
        elif isinstance(happening, PutBoard):
            self._owners[happening.board] = happening.owner
        elif isinstance(happening, Removed):
            self._saved.pop((happening.board, happening.pin), None)
        elif isinstance(happening, Forgotten):
            self._states.pop(happening.user, None)

    def _save(self, saved: Saved, time_ms: int) -> None:
        acted = saved.acted
        at, quality = time_ms // 1000, saved.quality or self._declared.quality_default
        place = (saved.board, acted.pin)
        if at >= self._saved.get(place, (0, 0.0))[0]:
            self._saved[place] = (at, quality)
        self._act(acted, time_ms)
        self._count([acted.pin], acted.action, time_ms)

    def _act(self, acted: Acted, time_ms: int) -> None:
        self._set.act(
            self._state(acted.user),
            time_ms,
            acted.action,
            acted.pin,
            acted.board,
            acted.owner,
            acted.interests,
        )
        if acted.pin:
            self._deeds.add(acted.user, acted.pin, acted.action, time_ms)

    def _see(self, place: int, time_ms: int, seen: Seen) -> None:
        shown = seen.shown
        if shown.action == _IMPRESSION and self._chosen(place, shown.user, time_ms):
            self._ask(time_ms, seen)
        self._set.show(self._state(shown.user), time_ms, shown.count, shown.action)
        self._count(seen.pins, shown.action, time_ms)

    def _chosen(self, place: int, user: int, time_ms: int) -> bool:
        return time_ms > self._forgotten.get(user, 0) and mix64(place + 1) <= self._share_u64

    def _ask(self, time_ms: int, seen: Seen) -> None:
        """What serving would have computed for this session just before it."""
        pins = list(seen.pins)
        rows = self._rows.places(RowKind.PIN, pins, now_ms=time_ms)
        ids = self._rows.tables[RowKind.PIN].ids[rows]
        # A frontend that does not say the board means the one that the pin was first saved to.
        own = ids[:, self._board_column].tolist() if self._board_column >= 0 else [0] * len(pins)
        boards = [board or mine for board, mine in zip(seen.boards or own, own, strict=True)]
        unknown = (0, self._declared.quality_default)
        saved = [self._saved.get(place, unknown) for place in zip(boards, pins, strict=True)]
        saved_at = np.array([at for at, _ in saved], np.uint32)
        light = self._light(saved_at, [quality for _, quality in saved], time_ms)
        candidates = Candidates(
            pins=np.array(pins, np.uint64),
            light_scores=light,
            saved_at=saved_at,
            boards=np.array(boards, np.uint64),
            owners=np.array([self._owners.get(board, 0) for board in boards], np.uint64),
            affinities=np.ones(len(pins), np.float32),
        )
        signals = {
            column.name: Signal(column.ids, column.values)
            for column in self._set.read(self._state(seen.shown.user), time_ms, self._numbers)
        }
        columns = self.columns
        features = self._declared.features
        columns.request.append(features.request_features(ids, candidates, signals, now_ms=time_ms).matrix)
        columns.light.append(light)
        columns.pins += pins
        columns.places[RowKind.PIN] += rows
        for kind in (one.kind for one in features.kinds[1:]):
            needed = features.row_ids(kind, seen.shown.user, candidates, ids).tolist()
            columns.places[kind] += self._rows.places(kind, needed, now_ms=time_ms)
        columns.saved_s += [at for at, _ in saved]
        columns.sizes.append(len(pins))
        columns.times_ms.append(time_ms)
        columns.users.append(seen.shown.user)
        columns.counted.append(len(self._counted_pins))

    def _light(
        self, saved_at: NDArray[np.uint32], qualities: list[float], now_ms: int
    ) -> NDArray[np.float32]:
        """Polaris's light score at an affinity of 1; NaN where the save is not known."""
        scale = self._declared.light
        keys = scale.keys(qualities=np.array(qualities, np.float32), saved_at=saved_at)
        light = scale.scores(ranks=keys.astype(np.float64), now_ms=now_ms)
        light[saved_at == 0] = np.nan
        return light

    def _count(self, pins: Sequence[int], action: int, time_ms: int) -> None:
        self._counted_pins += pins
        self._counted_actions += [action] * len(pins)
        self._counted_times += [time_ms] * len(pins)

    def _state(self, user: int) -> SignalState:
        state = self._states.get(user)
        if state is None:
            state = self._states[user] = self._set.empty()
        return state

    def finish(self, options: ReplayOptions) -> TrainingData:
        """All columns together, as `train` wants them."""
        columns, features = self.columns, self._declared.features
        sizes = np.array(columns.sizes, np.int64)
        times_ms = np.repeat(np.array(columns.times_ms, np.int64), sizes)
        users = np.repeat(np.array(columns.users, np.uint64), sizes)
        pins = np.array(columns.pins, np.uint64)
        parts = self._row_features(self._counts(pins, sizes, times_ms))
        return TrainingData(
            matrix=features.whole(parts, np.concatenate(columns.request)),
            labels=engaged(
                users=users, pins=pins, times_ms=times_ms, deeds=self._deeds, window_ms=options.window_ms
            ),
            sessions=np.repeat(np.arange(len(sizes), dtype=np.int64), sizes),
            times_ms=times_ms,
            saved_ms=np.array(columns.saved_s, np.int64) * 1000,
            light_scores=np.nan_to_num(np.concatenate(columns.light)),
        )

    def _row_features(self, counts: NDArray[np.float32]) -> dict[RowKind, NDArray[np.float32]]:
        """The features of each row's stored rows, by kind; `counts` are those of the pins."""
        features = self._declared.features
        parts: dict[RowKind, NDArray[np.float32]] = {}
        for kind in (columns.kind for columns in features.kinds):
            table, places = self._rows.tables[kind], np.array(self.columns.places[kind], np.int64)
            if kind is RowKind.PIN:
                static = features.static_rows(table.values[places], table.ids[places], counts)
                parts[kind] = features.row_features(kind, static.values).matrix
            else:
                # Without counts a stored row has its features for ever.
                parts[kind] = features.row_features(kind, table.values).matrix[places]
        return parts

    def _counts(
        self, pins: NDArray[np.uint64], sizes: NDArray[np.int64], times_ms: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """The feature list's counters of each row at its moment."""
        counters = self._declared.counters
        counted = np.array(self._counted_pins, np.uint64)
        entities, places = np.unique(np.concatenate([counted, pins]), return_inverse=True)
        actions = np.array(self._counted_actions, np.uint8)
        increments = Increments(
            places[: len(counted)].astype(np.int64), actions, np.array(self._counted_times, np.int64)
        )
        after = np.repeat(np.array(self.columns.counted, np.int64), sizes)
        return counts_at(
            counters,
            counters.columns(self._declared.features.counters),
            row_count=len(entities),
            increments=increments,
            asks=Asks(places[len(counted) :].astype(np.int64), after, times_ms),
        )


def _shown(history: History) -> tuple[int, int]:
    """Pins and sessions that were shown."""
    sizes = [
        len(happening.pins)
        for happening in history.happenings
        if isinstance(happening, Seen) and happening.shown.action == _IMPRESSION
    ]
    return sum(sizes), len(sizes)


def _forgotten(history: History) -> dict[int, int]:
    """When each user was last forgotten."""
    return {
        happening.user: time_ms
        for time_ms, happening in zip(history.times_ms, history.happenings, strict=True)
        if isinstance(happening, Forgotten)
    }
