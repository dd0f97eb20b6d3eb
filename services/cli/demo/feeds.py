"""The demo's second chapter: the four feeds side by side, an action that moves one of them, and an owner
hidden.

Asks with `dry_run`, so looking does not use the feeds up; what is hidden is taken back at the end. Next:
`showing.py`, which prints the first chapter.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from feedmesh.feedgen.v1 import feedgen_pb2
from feedmesh.log.v1 import event_pb2
from feedmesh.type.v1 import type_pb2
from services.cli.connection import Connection, reading_after
from services.cli.demo.story import PAGE, Act, Person
from services.cli.feed import made_from

FEEDS: Final = ("home", "following", "interest", "picked_for_you")
_ROWS: Final = 5
_TITLE_WIDTH: Final = 30
_BOARD_WIDTH: Final = 22


@dataclass(frozen=True)
class Feeds:
    """A page of each feed."""

    answers: Mapping[str, feedgen_pb2.GetFeedResponse]

    @classmethod
    def of(cls, connection: Connection, person: Person, *, token: bytes = b"") -> Feeds:
        """The four feeds of a person now; with a token: as they are with what it is of."""
        with reading_after(token):
            return cls({feed: _page(connection, person, feed) for feed in FEEDS})

    def pins(self, feed: str) -> set[int]:
        """Pins of a feed's page."""
        return {item.pin for item in self.answers[feed].items}

    def led_from(self, feed: str, pins: set[int]) -> int:
        """Items of a feed to which walks came from one of the pins."""
        return sum(any(led.pin in pins for led in item.led_from) for item in self.answers[feed].items)


def show_feeds(console: Console, connection: Connection, person: Person, *, token: bytes = b"") -> Feeds:
    """Print the beginning of each feed, and how much they have in common."""
    feeds = Feeds.of(connection, person, token=token)
    console.rule(f"four feeds of {person.key}", align="left")
    for feed, answer in feeds.answers.items():
        console.print(f"[bold]{feed}[/]  [dim]{made_from(answer)}[/]", highlight=False, soft_wrap=True)
        console.print(_table(console, answer))
    following = feeds.pins("following")
    common = ", ".join(
        f"{len(feeds.pins(feed) & following)} of {len(feeds.pins(feed))} in {feed}"
        for feed in FEEDS
        if feed != "following"
    )
    console.print(f"of the pins of following there are {common}.", highlight=False)
    return feeds


def show_picked_after(console: Console, before: Feeds, after: Feeds, act: Act) -> None:
    """Print what the action did to PICKED_FOR_YOU."""
    saved = {one.item.pin for one in act.pins}
    stayed = len(before.pins("picked_for_you") & after.pins("picked_for_you"))
    led, led_before = (feeds.led_from("picked_for_you", saved) for feeds in (after, before))
    console.print(
        f"picked_for_you walks from the saved pins at once: [bold]{led} of "
        f"{len(after.pins('picked_for_you'))}[/] items come from them, {led_before} before; {stayed} stayed.",
        highlight=False,
    )


def show_hidden(console: Console, connection: Connection, person: Person) -> None:
    """Hide the owner whom HOME shows most, print what is left of them, and take it back."""
    before = _page(connection, person, "home")
    counts = Counter(item.owner for item in before.items if item.owner)
    if not counts:
        return
    owner, count = counts.most_common(1)[0]
    name = next(item.display.owner_name for item in before.items if item.owner == owner) or str(owner)
    token = connection.publish([_hide(person, owner)])
    with reading_after(token):
        after = _page(connection, person, "home")
    left = sum(item.owner == owner for item in after.items)
    with reading_after(connection.publish([_hide(person, owner, undo=True)])):
        _page(connection, person, "home")
    console.print(
        f"{person.key} hides {name}: [bold]{count} of {len(before.items)}[/] items of home before, "
        f"[bold]{left}[/] after. Then takes it back.",
        highlight=False,
    )


def _page(connection: Connection, person: Person, feed: str) -> feedgen_pb2.GetFeedResponse:
    request = feedgen_pb2.GetFeedRequest(user=person.id, page_size=PAGE, feed=feed, dry_run=True)
    request.display_mask.paths.append("*")
    return connection.feed(request)


def _hide(person: Person, owner: int, *, undo: bool = False) -> event_pb2.Event:
    return event_pb2.Event(
        id=f"demo-{os.urandom(12).hex()}",
        time_ms=time.time_ns() // 1_000_000,
        hide=event_pb2.Hide(user=person.id, kind=type_pb2.OBJECT_KIND_USER, id=owner, undo=undo),
    )


def _table(console: Console, answer: feedgen_pb2.GetFeedResponse) -> Table:
    """Title, board, and the reason, which has what the terminal has left."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    left = max(console.width - _TITLE_WIDTH - _BOARD_WIDTH - 6, 20)
    for width in (_TITLE_WIDTH, _BOARD_WIDTH, left):
        table.add_column(no_wrap=True, width=width)
    for item in list(answer.items)[:_ROWS]:
        shown = item.display
        table.add_row(Text(shown.title), Text(shown.board_title, style="dim"), Text(item.reason, style="dim"))
    return table
