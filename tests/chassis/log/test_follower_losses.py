"""A partition that the log no longer has from where the view is takes its shards, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from structlog.testing import capture_logs

from services.chassis.errors import OffsetOutOfRange, ShardLost
from services.chassis.log.follower import FollowerConfig
from services.chassis.log.log import Chunk, Positions, Tail
from services.chassis.log.token import Token
from services.chassis.shards.owned import OwnedShards
from tests.chassis.log.follower_bench import WAIT_S, Bench, WeatheredLog
from tests.chassis.log.support import TOPICS, record

Lose = Callable[[Bench], None]
EVERYWHERE = {("pins", number): 0 for number in range(TOPICS["pins"])}


def lost_shards(bench: Bench) -> list[int]:
    shards = bench.owned.shards
    return [int(shard) for shard in shards[bench.owned.lost.among(shards)]]


def start_behind_the_trimmed_begin(bench: Bench) -> None:
    """A view that stands at 3 in pins/0 while the log begins at 9."""
    bench.start().apply(record(1))
    bench.close()
    bench.log.trim(bench.publish(record(2), record(3)))
    bench.owned = OwnedShards.everything(8)
    bench.start()
    bench.follower.wait_applied({("pins", 1): 0}, timeout_s=WAIT_S)


def lose_while_running(bench: Bench) -> None:
    """The same, but the log is trimmed while it cannot be heard."""
    bench.start().apply(record(1))
    bench.log.away.set()
    bench.log.trim(bench.publish(record(2), record(3)))
    bench.log.away.clear()
    with pytest.raises(ShardLost):
        bench.follower.wait_applied({("pins", 0): 1_000}, timeout_s=WAIT_S)


LOSING = pytest.mark.parametrize(
    "lose", [start_behind_the_trimmed_begin, lose_while_running], ids=["at start", "while running"]
)


@LOSING
def test_the_shards_of_a_trimmed_partition_are_refused_with_what_is_missing(bench: Bench, lose: Lose) -> None:
    lose(bench)
    assert lost_shards(bench) == [0, 4]
    with pytest.raises(ShardLost, match="pins/0 is applied up to 3, the log has 9 to 9: 6 offsets are gone"):
        bench.owned.lost.check_one(4)
    assert bench.metric("lost_partitions", topic="pins") == 1
    assert bench.fatal == []
    assert bench.refusals == []


@LOSING
def test_the_other_partitions_are_followed_on(bench: Bench, lose: Lose) -> None:
    lose(bench)
    bench.apply(record(4, key=4), partition=1)
    bench.apply(record(5, key=5), partition=3)
    bench.publish(record(6, key=6), partition=0)
    bench.apply(record(7, key=7), partition=1)
    assert bench.view.kept[-3:] == [4, 5, 7]
    assert set(bench.follower.positions) == set(EVERYWHERE) - {("pins", 0)}
    assert bench.follower.caught_up()
    assert bench.follower.lag == {"pins": 0}


@LOSING
def test_a_token_that_names_a_lost_partition_is_refused_at_once(bench: Bench, lose: Lose) -> None:
    lose(bench)
    for offset in (1, 1_000):
        token = Token(bench.log.log_id, {("pins", 0): offset, ("pins", 1): 0}).encode()
        with pytest.raises(ShardLost) as raised:
            bench.follower.wait_token(token, WAIT_S)
        assert "lost" not in raised.value.facts, "the whole call is refused, whichever rows it is for"
    bench.follower.wait_token(Token(bench.log.log_id, {("pins", 1): 0}).encode(), 0)


def test_a_reader_that_waits_for_a_partition_hears_of_its_loss_at_once(bench: Bench) -> None:
    bench.start().apply(record(1))
    bench.log.away.set()
    heard: list[BaseException] = []

    def wait() -> None:
        try:
            bench.follower.wait_applied({("pins", 0): 1_000}, timeout_s=60)
        except ShardLost as lost:
            heard.append(lost)

    waiting = threading.Thread(target=wait)
    waiting.start()
    bench.log.trim(bench.publish(record(2), record(3)))
    bench.log.away.clear()
    waiting.join(WAIT_S)
    assert len(heard) == 1


def test_a_log_that_ends_before_the_view_is_a_loss_too(bench: Bench) -> None:
    bench.start().apply(record(1), record(2))
    bench.close()
    bench.log = WeatheredLog()
    bench.owned = OwnedShards.everything(8)
    bench.start()
    with pytest.raises(ShardLost, match="up to 6, the log has 0 to 0: the log lost the last 6"):
        bench.follower.wait_applied({("pins", 0): 1}, timeout_s=WAIT_S)


def test_an_empty_store_does_not_follow_a_trimmed_log_in_silence(bench: Bench) -> None:
    bench.log.trim(bench.publish(record(1)))
    bench.start()
    with pytest.raises(ShardLost, match="3 offsets are gone"):
        bench.follower.wait_applied({("pins", 0): 1}, timeout_s=WAIT_S)
    assert lost_shards(bench) == [0, 4]


def test_several_partitions_are_lost_in_one_look(bench: Bench) -> None:
    bench.start().apply(record(1))
    bench.apply(record(2), partition=2)
    bench.log.away.set()
    bench.log.trim(bench.publish(record(3)) | bench.publish(record(4), partition=2))
    with capture_logs() as logs:
        bench.log.away.clear()
        with pytest.raises(ShardLost):
            bench.follower.wait_applied({("pins", 2): 1_000}, timeout_s=WAIT_S)
        bench.apply(record(5), partition=1)
    assert lost_shards(bench) == [0, 2, 4, 6]
    said = [entry for entry in logs if entry["event"] == "partition lost"]
    assert [(entry["log_level"], entry["partition"]) for entry in said] == [("error", 0), ("error", 2)]
    assert bench.metric("lost_partitions", topic="pins") == 2


def test_a_host_that_has_lost_every_shard_says_so_once_and_is_never_caught_up(bench: Bench) -> None:
    bench.owned = OwnedShards(8, np.isin(np.arange(8), [1, 5]))
    bench.log.trim(bench.publish(record(1), partition=1))
    bench.start()
    assert bench.all_lost.wait(WAIT_S)
    bench.follower.stop()
    (refusal,) = bench.refusals
    assert isinstance(refusal, ShardLost)
    assert "pins/1" in str(refusal)
    assert not bench.follower.caught_up()
    assert bench.metric("caught_up") == 0
    assert bench.fatal == []
    assert bench.follower.log_silent_s == 0


def test_after_a_start_with_a_trimmed_beginning_nothing_is_lost(bench: Bench) -> None:
    bench.log.trim(bench.publish(record(1)))
    bench.start()
    with pytest.raises(ShardLost):
        bench.follower.wait_applied({("pins", 0): 1}, timeout_s=WAIT_S)
    bench.config = FollowerConfig(begin_trimmed=True, poll_ms=10)
    bench.restart()
    bench.apply(record(2, key=2))
    assert bench.view.kept == [2]
    assert lost_shards(bench) == []


class Contradicting(WeatheredLog):
    """A log whose first tails find a position out of range that its offsets do not."""

    def __init__(self, *, facts: dict[str, object]) -> None:
        super().__init__()
        self.facts = facts
        self.contradictions = 3

    def tail(self, positions: Positions) -> Tail:  # type: ignore[override]
        if not self.contradictions:
            return super().tail(positions)
        self.contradictions -= 1
        return _OutOfRange(self.facts)


class _OutOfRange:
    silent_s = 0.0

    def __init__(self, facts: dict[str, object]) -> None:
        self._facts = facts

    def poll(self, *, timeout_ms: int) -> list[Chunk]:
        raise OffsetOutOfRange("not here", **self._facts)

    def close(self) -> None: ...


def test_a_loss_that_the_log_itself_denies_is_waited_out(bench: Bench) -> None:
    bench.log = Contradicting(facts={"topic": "pins", "partition": 0})
    bench.start().apply(record(1, key=1))
    assert bench.view.kept == [1]
    assert bench.metric("log_retries_total") == 3
    assert lost_shards(bench) == []


@pytest.mark.parametrize("facts", [{}, {"topic": "gone", "partition": 0}], ids=["no place", "not followed"])
def test_positions_that_mean_nothing_to_the_log_end_the_process(
    bench: Bench, facts: dict[str, object]
) -> None:
    bench.log = Contradicting(facts=facts)
    bench.start()
    assert bench.died.wait(WAIT_S)
    assert isinstance(bench.fatal[0], OffsetOutOfRange)
