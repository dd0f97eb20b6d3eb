"""A mesh that holds a social graph, loaded by `feedmesh load`, and the pages that it answers.

People, boards and items have ids of their own ranges; a person has one board, with the person's saves on it.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import grpc
import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from feedmesh.feedgen.v1 import feedgen_pb2, feedgen_pb2_grpc
from services.cli.mesh.layout import Layout
from tests.bench.scrape import lag_records
from tests.quality.progress import asked
from tests.quality.protocol import Boards
from tests.quality.walks import BOARDS, feedmesh

PAGE: Final = 50
PEOPLE: Final = 10_000_000
DAYS: Final = 60
"""Saves are spread over so many; a feed's window is longer."""
_DAY_MS: Final = 86_400_000
_SEED: Final = 5
_TIMEOUT_S: Final = 30.0
_CAUGHT_UP_S_MAX: Final = 900.0


def person_id(person: int) -> int:
    """Of a row."""
    return PEOPLE + person + 1


def load_world(layout: Layout, saves: Boards, follows: NDArray[np.int64]) -> None:
    """Boards, follows and saves into the running mesh. Raises RuntimeError with what the command said."""
    folder = layout.data_dir / "load"
    folder.mkdir()
    owners = range(len(saves))
    _write(folder / "boards.csv", ("id", "owner"), ((BOARDS + row + 1, person_id(row)) for row in owners))
    _write(
        folder / "follows.csv",
        ("user", "followed_user"),
        ((person_id(who), person_id(whom)) for who, whom in follows.tolist()),
    )
    now_ms = time.time_ns() // 1_000_000
    ages_ms = np.random.default_rng(_SEED).integers(1, DAYS * _DAY_MS, saves.pins.size)
    pairs = zip(saves.rows.tolist(), saves.pins.tolist(), ages_ms.tolist(), strict=True)
    _write(
        folder / "saves.csv",
        ("pin", "board", "user", "time"),
        ((pin + 1, BOARDS + row + 1, person_id(row), now_ms - age_ms) for row, pin, age_ms in pairs),
    )
    feedmesh("load", folder, "--data-dir", layout.data_dir)


class Feeds:
    """A client of the FeedGenerator."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._channel = grpc.insecure_channel(layout.addresses("feedgen")[0])
        self._stub = feedgen_pb2_grpc.FeedGeneratorServiceStub(self._channel)
        self.incomplete_count = 0
        """Pages that a stage was missing from."""

    def __enter__(self) -> Feeds:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def wait(self, console: Console) -> None:
        """Until every follower has applied the load. Raises TimeoutError."""
        until = time.monotonic() + _CAUGHT_UP_S_MAX
        with console.status("waiting for the services to apply the load"):
            while any(lag_records(process.metrics_address) for process in self._layout.processes):
                if time.monotonic() > until:
                    raise TimeoutError(f"the load is not applied after {_CAUGHT_UP_S_MAX:.0f} s")
                time.sleep(0.5)

    def pages(
        self,
        people: Sequence[int],
        feed: feedgen_pb2.FeedType.ValueType,
        ranking: feedgen_pb2.Ranking.ValueType,
        console: Console,
    ) -> dict[int, NDArray[np.int64]]:
        """Rows of items of each person's first page, in order. Nothing is published."""
        found: dict[int, NDArray[np.int64]] = {}

        def ask(number: int) -> feedgen_pb2.GetFeedResponse:
            request = feedgen_pb2.GetFeedRequest(
                user=person_id(people[number]), type=feed, ranking=ranking, page_size=PAGE, dry_run=True
            )
            return self._stub.GetFeed(request, timeout=_TIMEOUT_S)

        def take(number: int, page: feedgen_pb2.GetFeedResponse) -> None:
            self.incomplete_count += not page.complete
            found[people[number]] = np.array([item.pin - 1 for item in page.items], np.int64)

        asked(console, "pages", ask, len(people), take)
        return found


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[int]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
