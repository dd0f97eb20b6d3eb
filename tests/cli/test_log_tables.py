"""Topics and dead letters as tables, in trouble too."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from services.chassis.errors import LogUnavailable
from services.chassis.log.memory import MemoryLog
from services.cli.log.command import topic_rows, topics_table
from services.cli.log.dead_letters import letters_table
from tests.chassis.log.support import new_records

WHOLE = {"replicas": 3, "in_sync": 3, "leaderless": 0}
HEADLESS = {"replicas": 3, "in_sync": 1, "leaderless": 2}


class PartlyAway(MemoryLog):
    """Of `graph` nobody may ask; of `pins` nobody knows."""

    def end_offsets(self, topic: str) -> list[int]:
        assert topic != "graph", "asking a partition without a leader takes its whole timeout"
        if topic == "pins":
            raise LogUnavailable("no answer")
        return super().end_offsets(topic)


def printed(table: Table, *, width: int) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_offsets_are_summed_over_the_partitions() -> None:
    log = MemoryLog({"pins": 4}, offset_step=3)
    for number in range(5):
        log.publish(new_records("pins", number % 4, b"x"))
    log.trim({("pins", 0): 3})
    row = {one["topic"]: one for one in topic_rows(log, {})}["pins"]
    assert row == {"topic": "pins", "partitions": 4, "begin": 3, "end": 15, "records_at_most": 12}


def test_topics_in_trouble_are_shown_beside_the_others() -> None:
    log = PartlyAway({"graph": 2, "pins": 4, "counts": 4})
    rows = topic_rows(log, {"graph": HEADLESS, "pins": WHOLE, "counts": WHOLE, "dead-letters": WHOLE})
    ends = {row["topic"]: row["end"] for row in rows}
    assert ends == {"graph": None, "pins": None, "counts": 0, "dead-letters": 0}
    assert json.loads(json.dumps(rows)) == rows
    lines = printed(topics_table(rows), width=80).splitlines()
    (graph,) = [line.split() for line in lines if line.startswith("graph")]
    assert graph == ["graph", "2", "?", "?", "?", "3", "1", "2"]


def test_names_of_topics_are_whole_on_a_narrow_terminal() -> None:
    rows = topic_rows(MemoryLog({"pins": 4}), {"pins": WHOLE, "dead-letters": WHOLE})
    rows[0] |= {"begin": 1_000_000_000, "end": 9_000_000_000, "records_at_most": 8_000_000_000}
    assert "dead-letters" in printed(topics_table(rows), width=80)


def test_a_reason_is_shown_as_it_is_whatever_it_quotes() -> None:
    letter = {
        "offset": 3,
        "time": "",
        "service": "polaris",
        "topic": "pins",
        "partition": 0,
        "record_offset": 9,
        "reason": "KeyError: '[/] [bold]\x1b[2J\n'",
    }
    table = printed(letters_table([letter]), width=200)
    assert "pins/0@9" in table
    assert "KeyError: '[/] [bold]·[2J·'" in table
