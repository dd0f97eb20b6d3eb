"""One follower and everything around it, to be let down by its log and its store as a test says."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.registry import CollectorRegistry

from services.chassis.clock import FakeClock
from services.chassis.errors import (
    LogUnavailable,
)
from services.chassis.log.follower import Follower, FollowerConfig, FollowerMetrics
from services.chassis.log.log import Chunk, Positions, Tail
from services.chassis.log.memory import MemoryLog
from services.chassis.metrics import new_registry
from services.chassis.shards.owned import OwnedShards
from tests.chassis.log.support import (
    TOPICS,
    VIEW_FAMILIES,
    WAIT_MS,
    FaultyStore,
    KeepingView,
    new_records,
)

WAIT_S = WAIT_MS / 1000
FAST = FollowerConfig(backoff_ms=1, backoff_ms_max=2, poll_ms=10, dedup_window=100)


class WeatheredLog(MemoryLog):
    """A log that is away when a test says so."""

    def __init__(self, *, offset_step: int = 3, log_id: str = "memory") -> None:
        super().__init__(TOPICS, offset_step=offset_step, log_id=log_id)
        self.away = threading.Event()
        self.letters_refused = 0
        self.silent_s = 0.0
        self.polled: list[int] = []

    def end_offsets(self, topic: str) -> list[int]:
        self._check_weather()
        return super().end_offsets(topic)

    def tail(self, positions: Positions) -> Tail:  # type: ignore[override]
        self._check_weather()
        return WeatheredTail(self, super().tail(positions))

    def append_dead_letter(self, letter: bytes) -> None:
        if self.letters_refused:
            self.letters_refused -= 1
            raise LogUnavailable("no letters now")
        super().append_dead_letter(letter)

    def _check_weather(self) -> None:
        if self.away.is_set():
            raise LogUnavailable("the log is away")


class WeatheredTail:
    def __init__(self, log: WeatheredLog, tail: Tail) -> None:
        self._log = log
        self._tail = tail

    def poll(self, *, timeout_ms: int) -> list[Chunk]:
        self._log._check_weather()
        chunks = self._tail.poll(timeout_ms=timeout_ms)
        # What was on its way when the weather turned does not arrive.
        self._log._check_weather()
        self._log.polled.append(sum(len(chunk.values) for chunk in chunks))
        return chunks

    @property
    def silent_s(self) -> float:
        return self._log.silent_s

    def close(self) -> None:
        self._tail.close()


@dataclass
class Bench:
    """One follower and everything around it; `restart` is a new process on the same store."""

    path: Path
    log: WeatheredLog = field(default_factory=WeatheredLog)
    owned: OwnedShards = field(default_factory=lambda: OwnedShards.everything(8))
    config: FollowerConfig = FAST
    registry: CollectorRegistry = field(default_factory=new_registry)
    fatal: list[BaseException] = field(default_factory=list)
    died: threading.Event = field(default_factory=threading.Event)
    clock: FakeClock = field(default_factory=FakeClock)
    refusals: list[BaseException] = field(default_factory=list)
    all_lost: threading.Event = field(default_factory=threading.Event)

    def open(self, view_class: type[KeepingView] = KeepingView, topics: Sequence[str] = ("pins",)) -> None:
        self.store = FaultyStore(self.path, VIEW_FAMILIES)
        self.view = view_class(self.store, topics)
        self.registry = new_registry()
        self.follower = Follower(
            log=self.log,
            store=self.store,
            view=self.view,
            owned=self.owned,
            config=self.config,
            metrics=FollowerMetrics(self.registry),
            clock=self.clock,
            service="bench",
            on_fatal=self._die,
            on_all_lost=self._refuse_all,
        )

    def start(self) -> Bench:
        self.open()
        self.follower.start()
        return self

    def restart(self) -> None:
        self.close()
        self.owned = OwnedShards(self.owned.num_shards, self.owned.mask, self.owned.scheme)
        self.start()

    def close(self) -> None:
        self.follower.stop()
        self.store.close()

    def publish(self, *values: bytes, topic: str = "pins", partition: int = 0) -> Positions:
        return self.log.publish(new_records(topic, partition, *values)).result()

    def apply(self, *values: bytes, partition: int = 0) -> None:
        """Publish, and wait until it is applied."""
        self.follower.wait_applied(self.publish(*values, partition=partition), timeout_s=WAIT_S)

    def metric(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"feedmesh_follower_{name}", labels) or 0.0

    def _refuse_all(self, refusal: BaseException) -> None:
        self.refusals.append(refusal)
        self.all_lost.set()

    def _die(self, fault: BaseException) -> None:
        self.fatal.append(fault)
        self.died.set()
