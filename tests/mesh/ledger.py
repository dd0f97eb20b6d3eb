"""What clients were told is durable, and what every view must therefore say.

Owns a small world of boards, users and pins, a client that publishes to it until it is stopped, and the
comparison. The client behaves as clients must: every event has an id, a batch is sent again with the same
ids until it is acknowledged, and now and then one that was acknowledged is sent again all the same (its
acknowledgement may have been lost). The ledger notes a batch once, when it is acknowledged.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from typing import Final

from feedmesh.ingest.v1 import ingest_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.errors import FeedmeshError, TooLate, Unavailable
from services.cli.connection import PUBLISH, Connection
from tests.mesh import events
from tests.mesh.events import Event, new_ids
from tests.mesh.views import Views, merged

BATCH_EVENTS: Final = 40
BATCH_PAUSE_S: Final = 0.08
ACKNOWLEDGED_S_MAX: Final = 120.0
"""An outage is over by then, also on a machine that does much else."""
_ACTIONS: Final = (
    type_pb2.ACTION_TYPE_CLICK,
    type_pb2.ACTION_TYPE_CLOSEUP,
    type_pb2.ACTION_TYPE_HIDE,
)
_COUNTERS: Final = {
    "saves": type_pb2.ACTION_TYPE_SAVE,
    "clicks": type_pb2.ACTION_TYPE_CLICK,
    "closeups": type_pb2.ACTION_TYPE_CLOSEUP,
    "hides": type_pb2.ACTION_TYPE_HIDE,
    "impressions": type_pb2.ACTION_TYPE_IMPRESSION,
}


@dataclass
class Ledger:
    """What was acknowledged, as the views should show it."""

    pins: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    """By board."""
    interest_pins: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    """By interest."""
    follows: dict[tuple[str, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    """Targets by kind and user."""
    history: dict[int, Counter[tuple[int, int]]] = field(default_factory=lambda: defaultdict(Counter))
    """How often each (pin, action) happened, by user."""
    titles: dict[int, tuple[int, str]] = field(default_factory=dict)
    """Version and title by object."""
    token: bytes = b""
    events: int = 0

    def acknowledged(self, batch: list[Event], token: bytes) -> None:
        """Note a batch that is durable, in order."""
        for event in batch:
            self._note(event)
        self.events += len(batch)
        self.token = merged(self.token, token) if self.token else token

    def _note(self, event: Event) -> None:
        kind = event.WhichOneof("body")
        if kind == "save_pin":
            save = event.save_pin
            self.pins[save.board].add(save.pin)
            self.history[save.user][save.pin, type_pb2.ACTION_TYPE_SAVE] += 1
        elif kind == "remove_pin":
            self.pins[event.remove_pin.board].discard(event.remove_pin.pin)
        elif kind == "put_pin_interests":
            put = event.put_pin_interests
            for interest in put.interests:
                self.interest_pins[interest].add(put.pin)
            for interest in put.removed_interests:
                self.interest_pins[interest].discard(put.pin)
        elif kind in ("follow", "unfollow"):
            body = getattr(event, kind)
            which = body.target.WhichOneof("target")
            targets = self.follows[which, body.user]
            (targets.add if kind == "follow" else targets.discard)(getattr(body.target, which))
        elif kind == "action":
            self.history[event.action.user][event.action.pin, event.action.type] += 1
        elif kind == "impressions":
            for pin in event.impressions.pins:
                self.history[event.impressions.user][pin, type_pb2.ACTION_TYPE_IMPRESSION] += 1
        elif kind == "put_object":
            item = event.put_object
            if item.version >= self.titles.get(item.id, (0, ""))[0]:
                self.titles[item.id] = (item.version, item.pin.title)


class Publisher:
    """One client with a world of its own; publishes on a thread between `start` and `stop`."""

    def __init__(self, connection: Connection, *, seed: int) -> None:
        self.ledger = Ledger()
        self.retries = 0
        """Publishes that failed and were sent again with the same ids."""
        self.again = 0
        """Acknowledged batches that were sent again."""
        self.fault: BaseException | None = None
        self._connection = connection
        self._random = random.Random(seed)
        self._boards = new_ids(5)
        self._owners = new_ids(5)
        self.users = new_ids(8)
        self._pins = new_ids(60)
        self._objects = new_ids(15)
        # Of boards' ids, too: a mesh must not take one for the other.
        self._interests = [*self._boards[:3], *new_ids(5)]
        self._version = 0
        self._recent: deque[list[Event]] = deque(maxlen=10)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"publisher-{seed}", daemon=True)

    @property
    def boards(self) -> list[int]:
        """Every board of this world."""
        return self._boards

    def start(self) -> None:
        """Make the boards, then begin to publish."""
        self._send(
            [
                events.put_board(board, owner=owner)
                for board, owner in zip(self._boards, self._owners, strict=True)
            ]
        )
        self._thread.start()

    def stop(self) -> Ledger:
        """Finish the batch at hand; what was acknowledged."""
        self._stopping.set()
        self._thread.join(2 * ACKNOWLEDGED_S_MAX)
        assert not self._thread.is_alive(), "the publisher hangs"
        if self.fault is not None:
            raise self.fault
        return self.ledger

    def _run(self) -> None:
        try:
            while not self._stopping.wait(BATCH_PAUSE_S):
                self._send([self._event() for _ in range(BATCH_EVENTS)])
                if self._random.random() < 0.3:
                    self._publish(self._random.choice(self._recent))
                    self.again += 1
        except FeedmeshError as fault:
            self.fault = fault

    def _send(self, batch: list[Event]) -> None:
        self.ledger.acknowledged(batch, self._publish(batch))
        self._recent.append(batch)

    def _publish(self, batch: list[Event]) -> bytes:
        until = time.monotonic() + ACKNOWLEDGED_S_MAX
        while True:
            try:
                return self._publish_once(batch)
            except (Unavailable, TooLate):
                self.retries += 1
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    def _publish_once(self, batch: list[Event]) -> bytes:
        # Without the channel's own retries: what a client sees of an outage is part of the test.
        request = ingest_pb2.PublishRequest(events=batch)
        channels, ingest = self._connection.channels, self._connection.ingest
        return channels.call(ingest, PUBLISH, request, timeout_s=2.0, retry=False).token

    def _event(self) -> Event:  # noqa: PLR0911  one return for each kind
        pick = self._random.choice
        user, pin, board = pick(self.users), pick(self._pins), pick(self._boards)
        kind = self._random.randrange(10)
        if kind <= 1:
            return events.save(pin, board=board, user=user, quality=self._random.uniform(0.1, 1.0))
        if kind == 2:
            return events.remove(pin, board=board, user=user)
        if kind <= 4:
            return events.action(user, pin, pick(_ACTIONS))
        if kind == 5:
            return events.impressions(user, self._random.sample(self._pins, 5))
        if kind == 6:
            return events.follow(user, board=board) if pick((0, 1)) else events.unfollow(user, board=board)
        if kind == 7:
            owner = pick(self._owners)
            return (events.follow_user if pick((0, 1)) else events.unfollow_user)(user, owner)
        if kind == 8:
            named = self._random.sample(self._interests, 4)
            return events.put_interests(pin, named[:2], removed=named[2:])
        self._version += 1
        return events.put_pin(pick(self._objects), version=self._version, title=f"version {self._version}")


def check(views: Views, ledger: Ledger, boards: list[int], users: list[int], *, reader: int = 0) -> None:
    """Every view says what the ledger says; fails with the first that does not.

    `reader`, when there is one, follows every board, too, and does nothing else.
    """
    views.after = ledger.token
    try:
        _check_polaris(views, ledger, boards)
        _check_apiary(views, ledger, users, {"board": {reader} - {0}, "user": set()})
        _check_history(views, ledger, users)
        _check_counter(views, ledger)
        _check_rockstore(views, ledger)
    finally:
        views.after = b""


def _check_polaris(views: Views, ledger: Ledger, boards: list[int]) -> None:
    for board in boards:
        pins, total = views.pins(board)
        assert pins == ledger.pins[board], f"Polaris, board {board}"
        assert total == len(pins)
    for interest, wanted in ledger.interest_pins.items():
        pins, total = views.pins(interest, of_interest=True)
        assert pins == wanted, f"Polaris, interest {interest}"
        assert total == len(pins)


def _check_apiary(views: Views, ledger: Ledger, users: list[int], others: dict[str, set[int]]) -> None:
    followers: dict[tuple[str, int], set[int]] = defaultdict(set)
    for kind in ("user", "board"):
        for user in users:
            targets, count = views.following(kind, user)
            assert targets == ledger.follows[kind, user], f"Apiary, {kind}s that {user} follows"
            assert count == len(targets), "Apiary's count of follows"
            for target in targets:
                followers[kind, target].add(user)
    for (kind, target), wanted in followers.items():
        there, count = views.followers(kind, target)
        assert there == wanted | others[kind], f"Apiary, followers of {kind} {target}"
        assert count == len(there), "Apiary's count of followers"


def _check_history(views: Views, ledger: Ledger, users: list[int]) -> None:
    for user in users:
        wanted = ledger.history[user]
        assert views.history(user) == wanted, f"Aperture, history of {user}"
        assert views.seen(user) == {pin for pin, _ in wanted}, f"Aperture, seen set of {user}"
        pins = sorted({pin for pin, _ in wanted})
        actions = list(_COUNTERS.values())
        counted = views.action_counts(user, pins, actions).tolist()
        assert counted == [[wanted[pin, kind] for kind in actions] for pin in pins], (
            f"Aperture, counts of {user}"
        )
        by_action: Counter[int] = Counter()
        for (_, kind), count in wanted.items():
            by_action[kind] += count
        signal = {kind: value for kind, value in views.signal(user, "actions_1d").items() if value}
        assert signal == dict(by_action), f"RealPin, windowed counts of {user}"


def _check_counter(views: Views, ledger: Ledger) -> None:
    by_pin: Counter[tuple[int, int]] = Counter()
    for history in ledger.history.values():
        by_pin.update(history)
    pins = sorted({pin for pin, _ in by_pin})
    counted = views.counts(pins, list(_COUNTERS)).astype(int).tolist()
    assert counted == [[by_pin[pin, kind] for kind in _COUNTERS.values()] for pin in pins], "Counter"


def _check_rockstore(views: Views, ledger: Ledger) -> None:
    found = views.objects(type_pb2.OBJECT_KIND_PIN, sorted(ledger.titles))
    assert {id: (item.version, item.pin.title) for id, item in found.items()} == ledger.titles, "Rockstore"
