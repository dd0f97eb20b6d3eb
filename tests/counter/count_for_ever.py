"""`python -m tests.counter.count_for_ever FOLDER`: counts batch after batch, and says each that is written.

For the test that ends it without warning.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Final

from feedmesh.log.v1 import record_pb2
from services.counter.config import DEFAULT_COUNTERS, CounterConfig, DeclaredCounter
from tests.counter.counting import HOUR_MS, NOW_MS, counted, open_counter

ENTITIES: Final = 40
WINDOWED_CONFIG: Final = CounterConfig(
    counters=(
        *DEFAULT_COUNTERS,
        DeclaredCounter(name="day", kind="windowed", actions={"save": 1}, window_hours=24),
        DeclaredCounter(name="hour", kind="windowed", actions={"save": 2, "click": 1}, window_hours=1),
    )
)


def batch_of(number: int) -> list[record_pb2.Record]:
    """The records of batch `number`: a save of entity 1 in each, and later and late events of the others."""
    time_ms = NOW_MS + number * HOUR_MS // 7
    others = [2 + (number * step) % (ENTITIES - 1) for step in (1, 5, 11)]
    return [
        counted(1, *others, action="save", time_ms=time_ms),
        counted(*others, action="click", time_ms=time_ms - (number % 5) * HOUR_MS),
    ]


def main() -> None:
    counter = open_counter(Path(sys.argv[1]), config=WINDOWED_CONFIG)
    for number in itertools.count():
        counter.follow(*batch_of(number))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
