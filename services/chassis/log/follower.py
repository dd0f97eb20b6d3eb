"""Follows topics of the log into a view: in order, each record once, offsets committed with the data.

    poll → parse → drop duplicates and shards of others → decode (poison → dead letters)
         → view.apply(changes, batch) → offsets and ids into the same batch → write → wake readers

One thread, the only writer of its store; kill -9 at any moment repeats nothing and loses nothing, because
offset, recent ids and data are one atomic batch. A log that is away, a full disk: tried again, with reads
going on; the view's memory is then one batch ahead of the disk, so the very same batch is written until
it succeeds. A partition that the log no longer has from where the view is: its shards are refused, the
others go on (`shards/lost.py`). What neither waiting nor that cures ends the process with its reason
(`on_fatal`): a log of another identity, a view that fails in `apply`, too many failed writes.
Dead letters may come twice (a crash between letter and batch), never not at all.
Where next: `view.py` (what a service writes), `applied.py` (readers that wait), `records.py` (parsing),
`losses.py`, `silence.py`.

A view's own work (`Upkeep`) is done a slice at a time while no record comes, and a slice is followed by a
pause in which records are waited for: it takes a part of one processor, and no record waits for more of it
than a slice.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import structlog

from services.chassis.clock import Clock
from services.chassis.errors import (
    BadRequest,
    Exhausted,
    FeedmeshError,
    OffsetOutOfRange,
    StorageFault,
    TooLate,
    Unavailable,
)
from services.chassis.log.applied import Applied
from services.chassis.log.dedup import RecentIds
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.log.follower_metrics import FollowerMetrics
from services.chassis.log.log import Chunk, LogReader, Positions, Tail
from services.chassis.log.losses import Losses, lost_by
from services.chassis.log.offsets import (
    check_log_id,
    first_positions,
    lost_partitions,
    owned_places,
    put_offsets,
)
from services.chassis.log.records import Decoded, Poison, RecordReader, dead_letter
from services.chassis.log.silence import Silence
from services.chassis.log.token import Token
from services.chassis.log.view import Upkeep, View
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage.batch import Batch
from services.chassis.storage.store import Store

__all__ = ["Follower", "FollowerConfig", "FollowerMetrics", "View"]

EXIT_FAULT: Final = 1
_STOP_WAIT_S = 10.0
_TRANSIENT = (Unavailable, Exhausted, TooLate)
T = TypeVar("T")


class _Stopped(Exception):
    """The follower is to stop; what was not written yet is read again at the next start."""


class Follower:
    """Applies the log to one view. `start` once; `stop` waits for the batch at hand."""

    def __init__(
        self,
        *,
        log: LogReader,
        owns_log: bool = False,
        store: Store,
        view: View,
        owned: OwnedShards,
        config: FollowerConfig,
        metrics: FollowerMetrics,
        clock: Clock,
        service: str = "",
        on_fatal: Callable[[BaseException], None] | None = None,
        on_all_lost: Callable[[FeedmeshError], None] | None = None,
    ) -> None:
        self._log = log
        self._owns_log = owns_log
        self._store = store
        self._view = view
        self._upkeep = view if isinstance(view, Upkeep) else None
        self._owned = owned
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._service = service or type(view).__module__.removeprefix("services.").partition(".")[0]
        self._on_fatal = on_fatal or _exit
        self._losses = Losses(owned, metrics, on_all_lost=on_all_lost)
        self._logger = structlog.get_logger(component="follower")
        self._applied = Applied(log, metrics)
        self._reader: RecordReader | None = None
        self._recent: RecentIds | None = None
        self._stopping = threading.Event()
        self._tail: Tail | None = None
        self._silence = Silence(clock, stale_after_ms=config.stale_after_ms)
        metrics.log_silent.set_function(lambda: self._silence.seconds)
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Begin to follow, on a thread of its own. Returns at once, also when the log is away."""
        self._silence.broken()
        self._thread.start()

    def stop(self) -> None:
        """Finish the batch at hand and end the thread; blocks up to 10 s. Idempotent."""
        self._stopping.set()
        tail = self._tail
        if tail is not None:
            tail.close()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(_STOP_WAIT_S)
        if self._owns_log:
            self._log.close()

    def wait_applied(self, positions: Positions, *, timeout_s: float) -> None:
        """Block until the positions that concern this host are applied, at most `timeout_s`.

        Topics that the view does not follow and partitions that this host does not own are passed over.

        Raises:
            StaleReplica: not applied in time; another replica may be further.
            TokenAhead: not applied in time, and the log itself does not reach so far.
            ShardLost: a partition that they name is lost here; at once.
        """
        self._applied.wait(positions, timeout_s=timeout_s)

    def wait_token(self, token: bytes, timeout_s: float) -> None:
        """`wait_applied` for an encoded token: the gate that the server's envelope asks for.

        Raises InvalidToken as well: damaged, or of another log.
        """
        self._applied.wait_token(Token.decode(token), timeout_s=timeout_s)

    def caught_up(self) -> bool:
        """The end offsets that the log had at the first contact are applied. False before the contact.

        What is lost is not waited for; when everything is, this is never true.
        """
        return self._applied.caught_up

    def stale_ms(self) -> int:
        """0 while the log was heard of within `stale_after_ms`, else for how long it has been silent."""
        return self._silence.stale_ms()

    @property
    def log_silent_s(self) -> float:
        """Seconds since this follower last knew that it hears from the log; from the start before it did.

        0.0 when there is nothing to follow.
        """
        return self._silence.seconds

    @property
    def positions(self) -> Positions:
        """Next offset to apply, by followed partition; empty before the first contact. A copy."""
        return self._applied.positions

    @property
    def lag(self) -> dict[str, int]:
        """By topic: offsets between what is applied and the log's end as last told."""
        return self._applied.lag

    @property
    def log_id(self) -> str:
        """Identity of the log that is followed; empty before the first contact."""
        return self._applied.log_id

    def _run(self) -> None:
        try:
            self._retry_log(self._begin)
            while self._applied.follows_any:
                # Only the log is waited for here: a store that fails for good must not look like a log
                # that is away, or its batch would be skipped.
                chunks = self._retry_log(self._poll)
                for piece in self._pieces(chunks):
                    self._apply(piece)
                if not chunks and self._upkeep is not None and self._upkeep.upkeep_waits:
                    self._keep_up(self._upkeep)
            # A host without shards yet, or with none left, has nothing to follow, and a log refuses an empty
            # tail.
            self._silence.end()
        except _Stopped:
            return
        except Exception as fault:
            self._logger.critical("follower gives up", reason=str(fault), exc_info=fault)
            self._on_fatal(fault)
        finally:
            self._close_tail()

    def _begin(self) -> None:
        """First contact: identity, places, offsets; and the window of recent ids."""
        log, store = self._log, self._store
        check_log_id(store, log.log_id)
        places = owned_places(self._view.topics, partitions=log.topics, owned=self._owned)
        positions = first_positions(store, log, places, begin_trimmed=self._config.begin_trimmed)
        lost = lost_partitions(log, positions)
        ends = {topic: log.end_offsets(topic) for topic in self._view.topics}
        recent = RecentIds(places, window=self._config.dedup_window)
        recent.load(store)
        self._recent = recent
        self._reader = RecordReader(
            places,
            partitions=log.topics,
            view=self._view,
            owned=self._owned,
            recent=recent,
            metrics=self._metrics,
            service=self._service,
        )
        self._silence.broken()
        # The door first: what is lost must not be served between here and there.
        self._losses.refuse(lost)
        self._applied.begin(
            log_id=log.log_id,
            positions=positions,
            ends={place: ends[place[0]][place[1]] for place in places},
            lost=lost,
        )

    def _poll(self) -> list[Chunk]:
        """What the log has next. A new tail after every failure, from what is applied."""
        if self._tail is None:
            self._tail = self._log.tail(self._applied.positions)
            self._silence.listen(self._tail)
        try:
            return self._tail.poll(timeout_ms=self._patience_ms())
        except OffsetOutOfRange as fault:
            self._close_tail()
            lost = lost_by(fault, self._log, self._applied.positions)
            self._losses.refuse(lost)
            self._applied.lose(lost)
            return []
        except _TRANSIENT:
            self._close_tail()
            raise

    def _patience_ms(self) -> int:
        if self._upkeep is not None and self._upkeep.upkeep_waits:
            return min(self._config.upkeep_pause_ms, self._config.poll_ms)
        return self._config.poll_ms

    def _pieces(self, chunks: list[Chunk]) -> Iterator[list[Chunk]]:
        """The chunks in order, in pieces of at most `batch_records_max` records."""
        limit = self._config.batch_records_max
        piece: list[Chunk] = []
        room = limit
        for chunk in chunks:
            whole = chunk
            while len(whole.values) > room:
                head, whole = _split(whole, room)
                yield [*piece, head]
                piece, room = [], limit
            piece.append(whole)
            room -= len(whole.values)
        if piece:
            yield piece

    def _apply(self, chunks: list[Chunk]) -> None:
        reader = self._reader
        assert reader is not None, "_begin comes first"
        with self._metrics.apply.time():
            decoded = reader.read(chunks)
            for poison in decoded.poison:
                self._bury(poison)
            batch = self._store.batch()
            if decoded.changes:
                self._view.apply(decoded.changes, batch)
            self._commit(chunks, decoded, batch)
        self._applied.advance(chunks)
        self._count(decoded)

    def _keep_up(self, upkeep: Upkeep) -> None:
        """A slice of the view's own work: a batch without records."""
        batch = self._store.batch()
        upkeep.upkeep(batch)
        if len(batch):
            self._commit([], Decoded(), batch)

    def _commit(self, chunks: list[Chunk], decoded: Decoded, batch: Batch) -> None:
        """Write the batch with its offsets and ids. Tried again as it is: the memory has changed already."""
        put_offsets(batch, chunks)
        assert self._recent is not None
        for row, ids, next_offset in decoded.fresh_ids:
            self._recent.save(batch, row=row, ids=ids, next_offset=next_offset)
        attempt, write = 0, self._store.write
        while True:
            try:
                write(batch)
            except (Exhausted, StorageFault) as fault:
                attempt += 1
                self._metrics.write_retries.inc()
                self._logger.warning("batch not written", attempt=attempt, reason=str(fault))
                if attempt >= self._config.write_attempts_max:
                    raise
                self._back_off(attempt)
            else:
                return

    def _bury(self, poison: Poison) -> None:
        """Append a dead letter, however long the log is away: a skipped record without one is lost."""
        self._metrics.dead_letters.labels(poison.topic).inc()
        self._logger.warning(
            "poison record",
            topic=poison.topic,
            partition=poison.partition,
            offset=poison.offset,
            reason=poison.reason,
        )
        letter = dead_letter(poison, service=self._service, now_ms=self._clock.now_ms())

        def append() -> None:
            try:
                self._log.append_dead_letter(letter)
            except BadRequest as fault:
                # Trying again cannot help, and the partition must go on.
                self._logger.exception("dead letter refused", reason=str(fault))

        self._retry_log(append)

    def _retry_log(self, call: Callable[[], T]) -> T:
        """`call`, again and again while the log is away."""
        attempt = 0
        while True:
            self._check_stopping()
            try:
                return call()
            except _TRANSIENT as fault:
                self._check_stopping()
                attempt += 1
                self._metrics.log_retries.inc()
                self._logger.warning("log unavailable", attempt=attempt, reason=str(fault))
                self._back_off(attempt)

    def _back_off(self, attempt: int) -> None:
        config = self._config
        wait_ms = min(config.backoff_ms_max, config.backoff_ms * 2 ** min(attempt - 1, 20))
        if self._stopping.wait(wait_ms / 1000):
            raise _Stopped

    def _check_stopping(self) -> None:
        if self._stopping.is_set():
            raise _Stopped

    def _close_tail(self) -> None:
        self._silence.listen_no_more()
        tail, self._tail = self._tail, None
        if tail is not None:
            tail.close()

    def _count(self, decoded: Decoded) -> None:
        metrics = self._metrics
        for topic, count in decoded.counts.items():
            metrics.applied.labels(topic).inc(count)
        for topic, lag in self._applied.lag.items():
            metrics.lag.labels(topic).set(lag)
        if decoded.oldest_ms:
            metrics.event_to_applied.observe(max(0, self._clock.now_ms() - decoded.oldest_ms) / 1000)


def _split(chunk: Chunk, count: int) -> tuple[Chunk, Chunk]:
    """The first `count` records of a chunk, and the rest."""
    offsets, values = chunk.offsets, chunk.values
    head = Chunk(
        chunk.topic, chunk.partition, offsets[:count], values[:count], offsets[count], chunk.end_offset
    )
    rest = Chunk(
        chunk.topic, chunk.partition, offsets[count:], values[count:], chunk.next_offset, chunk.end_offset
    )
    return head, rest


def _exit(_fault: BaseException) -> None:
    # Not sys.exit: that would end only this thread. The store is safe: it is always ready for kill -9.
    os._exit(EXIT_FAULT)
