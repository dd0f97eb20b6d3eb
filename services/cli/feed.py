"""`feedmesh feed USER`: a feed as a table, or as JSON."""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from typing import Annotated, Final

import typer
from google.protobuf.json_format import MessageToJson
from rich.console import Console
from rich.table import Table

from feedmesh.feedgen.v1 import feedgen_pb2
from services.cli.connection import Connection, reading_after
from services.cli.faults import UsageFault
from services.cli.load.faults import RowFault
from services.cli.load.ids import Names
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir
from services.cli.why import found_item, print_why_notes, why_item, why_page

_STATUS_WORDS: Final = {
    feedgen_pb2.STAGE_STATUS_PARTIAL: "partial",
    feedgen_pb2.STAGE_STATUS_MISSED: "missed",
}
_BASIS_WORDS: Final = {
    "followed_boards": "followed boards",
    "followed_interests": "followed interests",
    "popular": "popular pins",
}
_WALK_WORDS: Final = {
    "recent_pins": "a walk from pins acted on lately",
    "own_boards": "a walk from own boards",
    "followed_boards": "a walk from followed boards",
    "popular": "popular pins",
}
_SOURCE_WORDS: Final = {
    feedgen_pb2.FEED_SOURCE_POPULAR_COLD_START: "popular pins, since there is nothing to go by yet",
    feedgen_pb2.FEED_SOURCE_POPULAR_FALLBACK: "popular pins, since the feed's own sources could not be read",
    feedgen_pb2.FEED_SOURCE_LAST_KNOWN: "what is followed as last known, since the graph could not be read",
}


class Ranking(StrEnum):
    """How candidates are ranked."""

    MODEL = "model"
    LIGHT = "light"
    NEWEST = "newest"


_RANKINGS: Final = {
    Ranking.MODEL: feedgen_pb2.RANKING_MODEL,
    Ranking.LIGHT: feedgen_pb2.RANKING_LIGHT_SCORE,
    Ranking.NEWEST: feedgen_pb2.RANKING_NEWEST,
}


def feed(
    user: Annotated[str, typer.Argument(help="The user's id, an integer or the string it was loaded as.")],
    pin: Annotated[str, typer.Argument(help="With --why: the one pin that is explained in full.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    type_: Annotated[
        str,
        typer.Option(
            "--type", help="following, interest, picked_for_you, home, or a recipe of this deployment."
        ),
    ] = "following",
    page_size: Annotated[int, typer.Option("--page-size", "-n", min=1, help="Items of a page.")] = 20,
    pages: Annotated[int, typer.Option(min=1, help="Pages of one session.")] = 1,
    ranking: Annotated[Ranking, typer.Option(help="How candidates are ranked.")] = Ranking.MODEL,
    token: Annotated[str, typer.Option(help="Token of `feedmesh publish`: its event is seen.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do not count the items as served: ask again, see them again.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Also the funnel and each stage's time.")
    ] = False,
    why: Annotated[
        bool,
        typer.Option("--why", help="What each score is made of; `--why PIN` with --dry-run: all of one."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a page.")] = False,
) -> None:
    """Make a user's feed now, and print it."""
    if pin and not why:
        raise UsageFault(f"what is to be done with the pin {pin}? --why {pin} says why it has its score")
    console = Console()
    wanted = _id("pin", pin, column="PIN") if pin else 0
    request = feedgen_pb2.GetFeedRequest(
        user=user_id(user),
        page_size=page_size,
        ranking=_RANKINGS[ranking],
        dry_run=dry_run,
        explain=explain,
        explain_scores=why,
        feed=type_,
    )
    request.display_mask.paths.append("*")
    with Connection(Layout.open(data_dir)) as connection, reading_after(_token(token)):
        for number in range(1, pages + 1):
            answer = connection.feed(request)
            if as_json:
                print(MessageToJson(answer, preserving_proto_field_name=True))
            elif not wanted:
                _print_page(console, answer, title=_title(answer, user, number), why=why)
            elif (item := found_item(answer, wanted)) is not None:
                console.print(why_item(item))
                return
            if not answer.cursor:
                break
            request.cursor = answer.cursor
    if wanted and not as_json:
        raise UsageFault(
            f"pin {pin} is not on {'this page' if pages == 1 else 'these pages'}; ask for more with -n or "
            "--pages, and with --dry-run, here and before: what was served is not served again"
        )


def _title(answer: feedgen_pb2.GetFeedResponse, user: str, number: int) -> str:
    return f"{answer.feed.replace('_', ' ').capitalize()} feed of {user}, page {number}"


def user_id(written: str) -> int:
    """The id of a user as people write it."""
    return _id("user", written, column="USER")


def page_table(answer: feedgen_pb2.GetFeedResponse, *, title: str) -> Table:
    """A page, for people."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="dim")
    table.add_column("#", justify="right")
    table.add_column("title", max_width=44, no_wrap=True)
    table.add_column("board", max_width=26, no_wrap=True)
    table.add_column("by", max_width=18, no_wrap=True)
    table.add_column("interests", max_width=26, no_wrap=True)
    table.add_column("score", justify="right")
    table.add_column("why", style="dim")
    for number, item in enumerate(answer.items, 1):
        shown = item.display
        table.add_row(
            str(number),
            shown.title or (str(item.pin) if item.pin else f"(kept free: {item.slot})"),
            shown.board_title or (str(item.board) if item.board else "–"),
            shown.owner_name or (str(item.owner) if item.owner else "–"),
            ", ".join(shown.interests),
            f"{item.score:.2f}" if not item.slot else "–",
            item.reason or item.slot,
        )
    return table


def made_from(answer: feedgen_pb2.GetFeedResponse) -> str:
    """What a page was made from, in words: its sources, with their items."""
    if answer.source in _SOURCE_WORDS:
        return _SOURCE_WORDS[answer.source]
    parts = []
    for source in answer.sources:
        words = (_WALK_WORDS if source.kind == "walk" else _BASIS_WORDS).get(source.basis, source.basis)
        if words:
            parts.append(f"{words} ({source.item_count})" if len(answer.sources) > 1 else words)
    return ", ".join(parts) or "nothing"


def _print_page(console: Console, answer: feedgen_pb2.GetFeedResponse, *, title: str, why: bool) -> None:
    console.print(why_page(answer, title=title) if why else page_table(answer, title=title))
    if why:
        print_why_notes(console, answer)
    _print_notes(console, answer)


def _print_notes(console: Console, answer: feedgen_pb2.GetFeedResponse) -> None:
    if not answer.items:
        console.print("nothing new: what there is has been seen, or is older than the feed's window")
    ranked = f"ranked by {answer.model}" if answer.model else "ranked without a model"
    console.print(
        f"from {made_from(answer)}; {ranked}; request {answer.request_id}", style="dim", soft_wrap=True
    )
    if answer.arms:
        arms = ", ".join(f"{arm.experiment} = {arm.arm}" for arm in answer.arms)
        console.print(f"experiments: {arms}", style="dim", soft_wrap=True)
    for stage in answer.stages:
        if stage.status in _STATUS_WORDS:
            console.print(f"{stage.stage} {_STATUS_WORDS[stage.status]}: {stage.detail}", style="yellow")
    if answer.stale_ms:
        console.print(
            f"not up to date: no word from the log for {answer.stale_ms / 1000:.1f} s; what was written "
            "since may be missing",
            style="yellow",
            soft_wrap=True,
        )
    if answer.HasField("explain"):
        stale = "  ".join(
            f"{stage.stage} {stage.stale_ms / 1000:.1f} s" for stage in answer.stages if stage.stale_ms
        )
        if stale:
            console.print(f"silence of the log: {stale}", style="dim", soft_wrap=True)
        times = "  ".join(f"{stage.stage} {stage.elapsed_us / 1000:.1f} ms" for stage in answer.stages)
        console.print(f"time: {times}", style="dim", soft_wrap=True)
        funnel = "  ".join(f"{step.stage}/{step.reason} {step.count:,}" for step in answer.explain.funnel)
        console.print(f"funnel: {funnel}", style="dim", soft_wrap=True)
        for call in answer.explain.calls:
            console.print(
                f"{call.start_us / 1000:7.1f} ms  +{call.elapsed_us / 1000:.1f} ms  {call.call}  "
                f"{call.host}  {call.status}",
                style="dim",
                soft_wrap=True,
                highlight=False,
            )


def _id(kind: str, written: str, *, column: str) -> int:
    try:
        return Names().id_of(kind, written, column=column)
    except RowFault as fault:
        raise UsageFault(str(fault)) from fault


def _token(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text)
    except (binascii.Error, ValueError) as fault:
        raise UsageFault("--token is not one that `feedmesh publish` printed") from fault
