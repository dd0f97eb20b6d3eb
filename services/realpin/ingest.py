"""Owns the way from a record of `actions` to a user's state: the view of RealPin's follower.

    decode: record -> Acted | Shown | Forgotten     apply: changes -> states -> one blob per user touched

What feeds what: `action` and `save_pin` (as SAVE, of the board saved to) are engagements; `hide` is a HIDE
of the pin, board or owner; `impressions` are counted. `remove_pin` and a hide that is taken back feed
nothing: what was done was done, and the weight of a hide decays by itself.

Never a torn read: decoded states belong to the follower's thread alone; readers decode the blobs that the
store has committed. Refuses records that make no sense with PoisonRecord.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import structlog

from feedmesh.log.v1 import event_pb2, record_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import CorruptValue, PoisonRecord
from services.chassis.storage import Batch
from services.realpin.declaration import SHOWN, ActionType
from services.realpin.metrics import RealPinMetrics
from services.realpin.signals import SignalSet, SignalState
from services.realpin.state_codec import decode, encode
from services.realpin.store import SignalStore

TOPICS: Final = ("actions",)
TIME_MS_MAX: Final = ((1 << 32) - 1) * 1000
"""Times are answered as uint32 seconds."""
INTERESTS_MAX: Final = 16

_ACTIONS = frozenset(int(action) for action in ActionType)
_SHOWN = frozenset(int(action) for action in SHOWN)
_LOG = structlog.get_logger(component="realpin")


@dataclass(frozen=True, slots=True)
class Acted:
    """One engagement; ids of 0 are unknown."""

    user: int
    time_ms: int
    action: int
    pin: int = 0
    board: int = 0
    owner: int = 0
    interests: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Shown:
    """Pins that were shown, counted."""

    user: int
    time_ms: int
    count: int
    action: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Everything of the user goes."""

    user: int


Change: TypeAlias = Acted | Shown | Forgotten


class RealPinView:
    """The follower's view; see the head of the file."""

    topics = TOPICS

    def __init__(
        self, *, signals: SignalSet, store: SignalStore, states_max: int, metrics: RealPinMetrics
    ) -> None:
        self._signals = signals
        self._store = store
        self._metrics = metrics
        self._states_max = states_max
        self._states: OrderedDict[int, SignalState] = OrderedDict()

    def decode(self, record: record_pb2.Record) -> Change | None:
        """See `change_of`."""
        return change_of(record)

    def apply(self, changes: Sequence[Change], batch: Batch) -> None:
        """Change the states of the users touched, and put each of them into the batch once."""
        signals = self._signals
        touched = self._load(list(dict.fromkeys(change.user for change in changes)))
        gone: set[int] = set()
        for change in changes:
            user = change.user
            if isinstance(change, Shown):
                signals.show(touched[user], change.time_ms, change.count, change.action)
            elif isinstance(change, Acted):
                signals.act(
                    touched[user],
                    change.time_ms,
                    change.action,
                    change.pin,
                    change.board,
                    change.owner,
                    change.interests,
                )
            else:
                touched[user] = signals.empty()
                gone.add(user)
                self._metrics.changes.labels("forgotten").inc()
                continue
            gone.discard(user)
        self._save(touched, gone, batch)
        shown = sum(isinstance(change, Shown) for change in changes)
        acted = sum(isinstance(change, Acted) for change in changes)
        self._metrics.changes.labels("shown").inc(shown)
        self._metrics.changes.labels("acted").inc(acted)

    def _load(self, users: list[int]) -> dict[int, SignalState]:
        states = self._states
        missing = [user for user in users if user not in states]
        found = {user: states[user] for user in users if user in states}
        for user, blob in zip(missing, self._store.get_many(missing), strict=True):
            found[user] = self._signals.empty() if blob is None else self._decoded(user, blob)
        self._metrics.state_cache.labels("hit").inc(len(users) - len(missing))
        self._metrics.state_cache.labels("miss").inc(len(missing))
        return found

    def _decoded(self, user: int, blob: bytes) -> SignalState:
        """A damaged state begins anew: signals of minutes are not worth a replica that stands still."""
        try:
            return decode(self._signals, blob)
        except CorruptValue as fault:
            self._metrics.states_corrupt.inc()
            _LOG.error("state begins anew", user=user, reason=str(fault))
            return self._signals.empty()

    def _save(self, touched: dict[int, SignalState], gone: set[int], batch: Batch) -> None:
        states = self._states
        for user, state in touched.items():
            if user in gone:
                self._store.delete(batch, user)
                states.pop(user, None)
                continue
            blob = encode(self._signals, state)
            self._store.put(batch, user, blob)
            self._metrics.state_bytes.inc(len(blob))
            states[user] = state
            states.move_to_end(user)
        self._metrics.states_written.inc(len(touched) - len(gone))
        # Only now: within the batch every state must stay, as the store does not have its changes yet.
        while len(states) > self._states_max:
            states.popitem(last=False)


def change_of(record: record_pb2.Record) -> Change | None:
    """The change that a record of `actions` makes; None for what feeds no signal. Raises PoisonRecord."""
    if not 0 < record.time_ms <= TIME_MS_MAX:
        raise PoisonRecord(f"time_ms {record.time_ms} is not a time that can be stored")
    body = record.event.WhichOneof("body") if record.WhichOneof("body") == "event" else None
    if body is None:
        raise PoisonRecord("a record of `actions` needs an event with a body")
    change = _change(record, body)
    if change is not None and change.user != record.key:
        raise PoisonRecord(f"the key {record.key} is not the event's user {change.user}")
    return change


def _change(record: record_pb2.Record, body: str) -> Change | None:
    event, time_ms = record.event, record.time_ms
    if body == "action":
        return _acted(event.action, time_ms)
    if body == "save_pin":
        save = event.save_pin
        _need(user=save.user, pin=save.pin, board=save.board)
        interests = _interests(save.interests)
        return Acted(save.user, time_ms, ActionType.SAVE, save.pin, save.board, save.owner, interests)
    if body == "impressions":
        shown = event.impressions
        _need(user=shown.user, pins=len(shown.pins))
        if shown.type not in _SHOWN:
            raise PoisonRecord(f"impressions of action type {shown.type}")
        return Shown(shown.user, time_ms, len(shown.pins), shown.type)
    if body == "hide":
        return _hidden(event.hide, time_ms)
    if body == "forget_user":
        _need(user=event.forget_user.user)
        return Forgotten(event.forget_user.user)
    if body == "remove_pin":
        return None
    raise PoisonRecord(f"an event {body} does not belong into `actions`")


def _acted(action: event_pb2.Action, time_ms: int) -> Acted:
    _need(user=action.user, pin=action.pin)
    if action.type not in _ACTIONS:
        raise PoisonRecord(f"action type {action.type} is not known")
    return Acted(
        action.user,
        time_ms,
        action.type,
        action.pin,
        action.board,
        action.owner,
        _interests(action.interests),
    )


def _hidden(hide: event_pb2.Hide, time_ms: int) -> Acted | None:
    _need(user=hide.user, id=hide.id)
    if hide.undo:
        return None
    if hide.kind == type_pb2.OBJECT_KIND_PIN:
        return Acted(hide.user, time_ms, ActionType.HIDE, pin=hide.id)
    if hide.kind == type_pb2.OBJECT_KIND_BOARD:
        return Acted(hide.user, time_ms, ActionType.HIDE, board=hide.id)
    if hide.kind == type_pb2.OBJECT_KIND_USER:
        return Acted(hide.user, time_ms, ActionType.HIDE, owner=hide.id)
    raise PoisonRecord(f"hide of object kind {hide.kind}")


def _interests(interests: Sequence[int]) -> tuple[int, ...]:
    if len(interests) > INTERESTS_MAX:
        raise PoisonRecord(f"{len(interests)} interests, at most {INTERESTS_MAX}")
    # An interest named twice is one interest.
    return tuple(dict.fromkeys(interest for interest in interests if interest))


def _need(**values: int) -> None:
    for name, value in values.items():
        if not value:
            raise PoisonRecord(f"{name} is missing")
