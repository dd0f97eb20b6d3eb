"""A view's own work is done while no record comes, in slices that are committed like records."""

from __future__ import annotations

import threading
from typing import Any

from services.chassis.errors import DiskFull, StorageFault
from services.chassis.log.follower import FollowerConfig
from services.chassis.storage.batch import Batch
from tests.chassis.log.follower_bench import WAIT_S, Bench
from tests.chassis.log.support import KeepingView, record, stored_keys

QUICK = FollowerConfig(poll_ms=10, upkeep_pause_ms=1, backoff_ms=1)


class TidyingView(KeepingView):
    """Has work of its own: some slices, each a row in the store."""

    slices = 3

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.done = 0
        self.begun, self.finished = threading.Event(), threading.Event()

    @property
    def upkeep_waits(self) -> bool:
        if self.done < self.slices:
            return True
        # The follower asks between two batches: the last slice is committed.
        self.finished.set()
        return False

    def upkeep(self, batch: Batch) -> None:
        batch.put("view", b"tidy" + self.done.to_bytes(4, "big"), (1_000 + self.done).to_bytes(8, "big"))
        self.done += 1
        self.begun.set()


class EndlessView(TidyingView):
    slices = 1 << 30


def started(bench: Bench, view: type[TidyingView]) -> TidyingView:
    bench.config = QUICK
    bench.open(view)
    bench.follower.start()
    assert isinstance(bench.view, TidyingView)
    return bench.view


def test_a_views_own_work_is_done_and_committed_without_records(bench: Bench) -> None:
    view = started(bench, TidyingView)
    assert view.finished.wait(WAIT_S)
    assert stored_keys(bench.store) == [1_000, 1_001, 1_002]
    bench.apply(record(1, key=1), record(2, key=2))
    assert view.kept == [1, 2]
    assert view.done == 3


def test_records_are_applied_while_a_views_own_work_goes_on(bench: Bench) -> None:
    view = started(bench, EndlessView)
    assert view.begun.wait(WAIT_S)
    for key in range(1, 21):
        bench.apply(record(key, key=key))
    assert view.kept == list(range(1, 21))


def test_a_slice_that_is_not_written_is_written_again_and_not_done_twice(bench: Bench) -> None:
    class Unlucky(TidyingView):
        def upkeep(self, batch: Batch) -> None:
            if not self.done:
                bench.store.write_faults = [StorageFault("gone"), DiskFull("full")]
            super().upkeep(batch)

    view = started(bench, Unlucky)
    assert view.finished.wait(WAIT_S)
    assert not bench.store.write_faults
    assert stored_keys(bench.store) == [1_000, 1_001, 1_002]
    assert view.done == 3
