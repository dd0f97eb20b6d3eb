"""A person who asks for a feed again and again, and notes what came: the load beside a kill.

Owns nothing but its thread. Pages are dry runs, so that the person never runs out of pins.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from feedmesh.feedgen.v1 import feedgen_pb2
from services.chassis.errors import FeedmeshError
from services.cli.connection import Connection
from tests.mesh.views import Views, stages_of


@dataclass(frozen=True)
class Asked:
    """One request."""

    began: float
    ended: float
    error: FeedmeshError | None
    item_count: int = 0
    complete: bool = False
    stages: tuple[tuple[str, str], ...] = ()


class FeedReader:
    """Asks between `start` and `stop`, about ten times a second."""

    def __init__(self, connection: Connection, user: int) -> None:
        self.asked: list[Asked] = []
        self._views = Views(connection)
        self._user = user
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the request at hand."""
        self._stopping.set()
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stopping.wait(0.1):
            began = time.monotonic()
            try:
                page = self._views.feed(
                    self._user,
                    page_size=10,
                    dry_run=True,
                    ranking=feedgen_pb2.RANKING_MODEL,
                    display_mask={"paths": ["title"]},
                )
            except FeedmeshError as error:
                self.asked.append(Asked(began, time.monotonic(), error))
            else:
                self.asked.append(
                    Asked(
                        began,
                        time.monotonic(),
                        None,
                        len(page.items),
                        page.complete,
                        tuple(stages_of(page).items()),
                    )
                )
