"""Why items have their scores, for people: a few contributions of each item, or all of one.

Owns words and layout, for a terminal of 100 columns and more. Values are shown as the model was given them,
which for some features (log1p, clip) is after their transform. Raw scores all over: what is added up is the
model's output before any sigmoid.
"""

from __future__ import annotations

import math
from typing import Final

from rich.cells import set_cell_size
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from feedmesh.feedgen.v1 import feedgen_pb2

SHARES_SHOWN: Final = 3
"""Contributions shown of each item: more would not fit in one line."""

_TITLE_CELLS: Final = 38
_BOARD_CELLS: Final = 24
_STAGE: Final = "explain_scores"


def why_page(answer: feedgen_pb2.GetFeedResponse, *, title: str) -> RenderableType:
    """Each item in two lines: what it is, and what made its score."""
    head = f"  # {_cells('title', _TITLE_CELLS)} {_cells('board', _BOARD_CELLS)} {'score':>7}  pin"
    lines: list[RenderableType] = [Text(title, style="italic"), Text(head, style="dim", no_wrap=True)]
    for number, item in enumerate(answer.items, 1):
        lines.append(_item_line(number, item))
        lines.append(Padding(Text(_shares(item), style="dim"), (0, 0, 0, 4)))
    return Group(*lines)


def why_item(item: feedgen_pb2.Item) -> RenderableType:
    """All contributions of one item, the greatest first; they add up to its score."""
    why = item.score_explained
    if not item.HasField("score_explained"):
        return Text(f"{_name(item)}: {_shares(item)}")
    table = Table(box=None, pad_edge=False, header_style="dim", show_footer=True, footer_style="bold")
    table.add_column("feature", footer="score", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("adds", justify="right", footer=f"{why.score:+.3f}", no_wrap=True)
    # The one column that may wrap: a terminal that is too narrow cuts no number.
    table.add_column("from", max_width=40)
    table.add_column("age", justify="right", no_wrap=True)
    for share in why.features:
        table.add_row(
            share.name,
            Text(_number(share.value), style="dim" if share.defaulted else ""),
            f"{share.contribution:+.3f}",
            share.origin,
            "not known" if share.defaulted else age_words(share.age_ms),
        )
    table.add_row("expected of any pin", "", f"{why.expected:+.3f}", "the model", "", style="dim")
    head = Text(item.display.title or _name(item), style="bold")
    return Group(head, Text(f"pin {_name(item)}, scored by {why.model}", style="dim"), table)


def print_why_notes(console: Console, answer: feedgen_pb2.GetFeedResponse) -> None:
    """How to read the lines above, or why there are none."""
    explained = [item.score_explained for item in answer.items if item.HasField("score_explained")]
    if explained:
        console.print(
            f"a score is {explained[0].expected:+.2f}, which the model expects of any pin, and what each of "
            f"{len(explained[0].features)} features adds; the {SHARES_SHOWN} that add or take most are "
            "shown, --why PIN has all",
            style="dim",
            highlight=False,
        )
        return
    skipped = [
        stage.detail
        for stage in answer.stages
        if stage.stage == _STAGE and stage.status == feedgen_pb2.STAGE_STATUS_SKIPPED
    ]
    for detail in skipped:
        console.print(f"scores are not explained: {detail}", style="yellow", soft_wrap=True)


def found_item(answer: feedgen_pb2.GetFeedResponse, pin: int) -> feedgen_pb2.Item | None:
    """The pin's item on a page."""
    return next((item for item in answer.items if item.pin == pin), None)


def age_words(age_ms: int) -> str:
    """How old a value is; 0 came with the request, -1 is not known."""
    if age_ms < 0:
        return "not known"
    if age_ms == 0:
        return "with the request"
    if age_ms < 1_000:
        return f"{age_ms} ms"
    if age_ms < 120_000:
        return f"{age_ms / 1_000:.1f} s"
    if age_ms < 7_200_000:
        return f"{age_ms / 60_000:.0f} min"
    return f"{age_ms / 3_600_000:.0f} h"


def _item_line(number: int, item: feedgen_pb2.Item) -> Text:
    title = item.display.title or str(item.pin)
    board = item.display.board_title or (str(item.board) if item.board else "–")
    # May wrap: a pin that is cut off could not be asked for.
    line = Text(f"{number:>3} ")
    line.append(_cells(title, _TITLE_CELLS) + " ")
    line.append(_cells(board, _BOARD_CELLS) + " ")
    line.append(f"{item.score:>7.2f}  ", style="bold")
    line.append(_name(item), style="dim")
    return line


def _shares(item: feedgen_pb2.Item) -> str:
    if not item.HasField("score_explained"):
        return "no score of the model, or it was not explained"
    shown = item.score_explained.features[:SHARES_SHOWN]
    return ", ".join(
        f"{share.name} {'not known' if share.defaulted else _number(share.value)} → {share.contribution:+.2f}"
        for share in shown
    )


def _name(item: feedgen_pb2.Item) -> str:
    """The pin as it can be asked for."""
    return item.display.pin_key or str(item.pin)


def _number(value: float) -> str:
    if math.isnan(value):
        # A category that is not known has no number.
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


def _cells(text: str, width: int) -> str:
    """Cut or filled to so many cells of a terminal, in which some letters take two."""
    cut = Text(text)
    cut.truncate(width, overflow="ellipsis")
    return set_cell_size(cut.plain, width)
