"""The feature log: bounded everywhere, whole files, and a disk that fails costs rows alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.chassis.clock import FakeClock
from services.scorpion.feature_log import FeatureLog, FeatureLogLimits, Served
from services.scorpion.feature_log_files import LoggedRows, file_sizes, read_feature_log
from services.scorpion.feature_stash import FeatureStash
from tests.scorpion.logged import DIGESTS, NAMES, assert_same, logged, stashed
from tests.scorpion.loop_metrics import LoopMetrics, SilentLog

LIMITS = FeatureLogLimits(
    queue_rows_max=100,
    file_rows_max=40,
    file_age_max_s=60.0,
    flush_s=10.0,
    directory_bytes_max=1 << 30,
    disk_free_bytes_min=0,
)


class Bench:
    """A log without its thread: the test says when it flushes."""

    def __init__(self, directory: Path, limits: FeatureLogLimits = LIMITS) -> None:
        self.directory = directory
        self.loop = LoopMetrics()
        self.clock = FakeClock()
        self.said = SilentLog()
        self.log = FeatureLog(directory, limits, metrics=self.loop, clock=self.clock, log=self.said)

    def write(self, rows: LoggedRows) -> int:
        taken = self.log.append(rows)
        self.log.flush()
        return taken

    def pins(self) -> list[int]:
        return [pin for rows in read_feature_log(self.directory) for pin in rows.pins.tolist()]


def test_rows_are_on_disk_after_a_flush(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "log")
    assert bench.log.append(logged(5)) == 5
    assert bench.pins() == []
    bench.log.flush()
    (read,) = read_feature_log(bench.directory)
    assert_same(read, logged(5))
    assert bench.loop.value("feature_log_rows_total") == 5
    assert bench.loop.value("feature_log_bytes") == sum(file_sizes(bench.directory).values())


def test_a_file_grows_with_each_flush_until_its_rows_then_another_begins(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for page in range(5):
        bench.write(logged(20, first_pin=1 + 20 * page))
        bench.clock.advance_ms(10)
    assert bench.pins() == list(range(1, 101))
    assert len(file_sizes(tmp_path)) == 3


def test_a_file_is_closed_by_age(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write(logged(1))
    bench.clock.advance_ms(60_000)
    bench.log.flush()
    bench.write(logged(1, first_pin=2))
    assert len(file_sizes(tmp_path)) == 2
    assert bench.pins() == [1, 2]


def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.log.flush()
    assert file_sizes(tmp_path) == {}
    bench.write(logged(1))
    (path,) = file_sizes(tmp_path)
    inode = path.stat().st_ino
    bench.log.flush()
    assert path.stat().st_ino == inode


def test_a_full_queue_drops_whole_pages_and_counts_them(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.log.append(logged(60)) == 60
    assert bench.log.append(logged(41, first_pin=100)) == 0
    assert bench.log.append(logged(40, first_pin=200)) == 40
    assert bench.loop.value("feature_log_dropped_total", reason="queue") == 41
    bench.log.flush()
    assert bench.log.append(logged(100, first_pin=300)) == 100


def test_the_oldest_files_make_room(tmp_path: Path) -> None:
    probe = Bench(tmp_path / "probe")
    probe.write(logged(40))
    (size_bytes,) = file_sizes(probe.directory).values()
    bound = 10 * size_bytes
    bench = Bench(tmp_path / "log", replace(LIMITS, directory_bytes_max=bound))
    for page in range(30):
        bench.write(logged(40, first_pin=1 + 40 * page))
        bench.clock.advance_ms(10)
        assert sum(file_sizes(bench.directory).values()) <= bound
    pins = bench.pins()
    assert pins == list(range(pins[0], 1_201))
    assert 7 * 40 <= len(pins) < 1_200
    assert bench.loop.value("feature_log_files_removed_total") == 30 - len(file_sizes(bench.directory))


def test_a_fault_of_the_disk_costs_rows_alone_and_is_logged_once(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("a file, where the directory should be")
    bench = Bench(tmp_path / "log")
    assert bench.write(logged(3)) == 3
    assert bench.write(logged(2)) == 2
    assert bench.loop.value("feature_log_dropped_total", reason="disk") == 5
    assert [level for level, _ in bench.said.said] == ["warning"]
    (tmp_path / "log").unlink()
    bench.write(logged(4, first_pin=50))
    assert bench.pins() == [50, 51, 52, 53]
    assert [level for level, _ in bench.said.said] == ["warning", "info"]


def test_rows_that_are_there_survive_a_flush_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    bench.write(logged(3))
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", _full)
        bench.write(logged(2, first_pin=10))
    bench.write(logged(1, first_pin=20))
    assert bench.pins() == [1, 2, 3, 20]
    assert len(file_sizes(tmp_path)) == 1


def test_a_disk_with_little_room_is_left_to_the_stores(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(LIMITS, disk_free_bytes_min=1 << 62))
    bench.write(logged(3))
    assert bench.pins() == []
    assert bench.loop.value("feature_log_dropped_total", reason="disk") == 3


def test_two_processes_may_share_a_directory_and_its_bound(tmp_path: Path) -> None:
    limits = replace(LIMITS, directory_bytes_max=40_000)
    one, other = Bench(tmp_path, limits), Bench(tmp_path, limits)
    for page in range(40):
        one.write(logged(20, first_pin=1 + 40 * page))
        other.write(logged(20, first_pin=21 + 40 * page))
        for bench in (one, other):
            bench.clock.advance_ms(10)
    assert sum(file_sizes(tmp_path).values()) <= 40_000
    pins = sorted(one.pins())
    assert pins[-1] == 1_600
    assert len(set(pins)) == len(pins) > 80


def test_two_feature_lists_get_two_files(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.log.append(logged(2))
    bench.log.append(logged(2, names=("quality",)))
    bench.log.flush()
    assert len(file_sizes(tmp_path)) == 2
    assert {rows.names for rows in read_feature_log(tmp_path)} == {NAMES, ("quality",)}


def test_the_thread_writes_what_waits_when_it_is_stopped_and_takes_no_more(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(LIMITS, flush_s=3_600.0))
    (tmp_path / ".killed.parquet").write_bytes(b"half of it")
    os.utime(tmp_path / ".killed.parquet", (1, 1))
    bench.log.start()
    bench.log.append(logged(3))
    bench.log.stop()
    assert bench.pins() == [1, 2, 3]
    assert not (tmp_path / ".killed.parquet").exists()
    assert bench.log.append(logged(1)) == 0


def test_the_thread_does_not_wait_for_the_time_when_a_file_is_full(tmp_path: Path) -> None:
    bench = Bench(tmp_path, replace(LIMITS, flush_s=3_600.0))
    written = threading.Event()

    def told(value: float) -> None:
        written.set()

    # Told of the size when the file is in its place.
    bench.loop.feature_log_bytes.set = told  # type: ignore[method-assign]
    bench.log.start()
    bench.log.append(logged(40))
    assert written.wait(30)
    assert len(bench.pins()) == 40
    bench.log.stop()


def test_what_was_served_goes_from_the_stash_to_the_log_with_its_positions(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    stash = FeatureStash(bytes_max=1 << 20, age_max_s=10, clock=bench.clock, metrics=bench.loop)
    stash.put(77, stashed([10, 20, 30], user=7))
    served = Served(
        log_id=77,
        user=7,
        pins=np.array([30, 99, 10], np.uint64),
        positions=np.array([0, 4, 9], np.uint16),
        feed="following",
        request_id="abc",
        served_ms=1_000,
        arms=("feed=treated", "walk=long"),
    )
    assert bench.log.log_served(served, stash, names=NAMES, digests=DIGESTS) == 2
    assert bench.log.log_served(served, stash, names=NAMES, digests=DIGESTS) == 0
    bench.log.flush()
    (read,) = read_feature_log(tmp_path)
    assert read.pins.tolist() == [30, 10]
    assert read.positions.tolist() == [0, 9]
    assert read.features.tolist() == [[30, 60, 90], [10, 20, 30]]
    assert read.scores.tolist() == [7.5, 2.5]
    assert (read.models[0], read.feeds[0], read.request_ids[0]) == ("fake", "following", "abc")
    assert read.arms.tolist() == [("feed=treated", "walk=long")] * 2
    assert (read.served_ms[0], read.now_ms[0], read.log_ids[0], read.users[0]) == (1_000, 900, 77, 7)
    assert bench.loop.value("feature_log_absent_total") == 1 + 3


def test_what_was_unknown_is_logged_as_unknown(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    stash = FeatureStash(bytes_max=1 << 20, age_max_s=10, clock=bench.clock, metrics=bench.loop)
    stash.put(77, stashed([10], bare=True))
    served = Served(77, 7, np.array([10], np.uint64), np.array([0], np.uint16), "following", "abc", 1_000)
    bench.log.log_served(served, stash, names=NAMES, digests=DIGESTS)
    bench.log.flush()
    (read,) = read_feature_log(tmp_path)
    assert (read.boards[0], read.owners[0], read.saved_at[0]) == (0, 0, 0)
    assert np.isnan(read.light_scores[0])
    assert read.arms.tolist() == [()]


@pytest.mark.mesh
def test_a_process_that_logs_nothing_does_not_load_pyarrow(tmp_path: Path) -> None:
    code = (
        "import sys, services.scorpion.__main__; from pathlib import Path; "
        "from tests.scorpion.test_feature_log import Bench; log = Bench(Path(sys.argv[1])).log; "
        "log.start(); log.stop(); print('pyarrow' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"


@pytest.mark.mesh
@pytest.mark.parametrize("lines", [1, 4, 9])
def test_kill_9_leaves_whole_files_with_every_row_that_was_flushed(tmp_path: Path, lines: int) -> None:
    directory = tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(directory)], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        flushed = [int(process.stdout.readline()) for _ in range(lines)][-1]
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    pins = [pin for rows in read_feature_log(directory) for pin in rows.pins.tolist()]
    assert pins == list(range(1, len(pins) + 1))
    assert len(pins) >= flushed


_ROOT = Path(__file__).parents[2]
_WRITER = """
import itertools, sys
from pathlib import Path
from tests.scorpion.logged import logged
from tests.scorpion.test_feature_log import Bench
bench = Bench(Path(sys.argv[1]))
for page in itertools.count():
    bench.write(logged(20, first_pin=1 + 20 * page))
    bench.clock.advance_ms(10)
    print(20 * (page + 1), flush=True)
"""


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")
