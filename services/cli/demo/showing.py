"""What the demo prints and draws: pages as tables, the before and after, the wall, what to try next."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.cli.demo.story import DEEP, FIT_SHARE, PAGE, Act, Page, Person
from services.cli.demo.taste import describe_taste
from services.cli.demo.wall import Card, Section, write_wall
from services.cli.mesh.layout import Layout

_ROWS = 12
_FIT = "●"
_NARROW = {"#": 2, "": 1, "was": 4, "score": 5}
_WIDE = {"title": 33, "board": 22, "why": 28, "interests": 26}
_GAP = 2


def print_before(console: Console, person: Person, page: Page, others: Mapping[str, Page]) -> None:
    """The person, their hidden taste, and their feed."""
    console.rule(f"the feed of {person.key}", align="left")
    taste = describe_taste(person.world, person.index)
    console.print(f"{person.key} is simulated, and {taste}.", highlight=False)
    console.print(
        f"The feed cannot read that. {_FIT} marks what fits: the top {FIT_SHARE:.0%} of the pins in reach.",
        style="dim",
        highlight=False,
    )
    table = _table(console, "#", "", "title", "board", "why", "score")
    for one in page.shown[:_ROWS]:
        shown = one.item.display
        table.add_row(
            str(one.rank),
            _mark(fits=one.fits),
            Text(shown.title),
            Text(shown.board_title),
            Text(one.item.reason, style="dim"),
            f"{one.item.score:.2f}",
        )
    console.print(table)
    ranked = f"ranked by model {page.model}" if page.model else "ranked by light score: no model serves"
    counts = [f"[bold]{page.fit_count} of {len(page.shown)}[/] {ranked}"]
    counts += [f"{other.fit_count} of {len(other.shown)} {words}" for words, other in others.items()]
    console.print(f"fit the taste, of the whole page: {'; '.join(counts)}", highlight=False)


def print_act(console: Console, person: Person, act: Act) -> None:
    """What the person does."""
    titles = ", ".join(f"“{one.item.display.title}”" for one in act.pins)
    console.rule("an action", align="left")
    console.print(
        f"{person.key} opens and saves {len(act.pins)} pins of [bold]{act.interest}[/]: {titles}.",
        highlight=False,
    )


def print_after(console: Console, act: Act, before: Page, after: Page, *, elapsed_ms: float) -> None:
    """How the feed moved."""
    was = {one.item.pin: one.rank for one in before.shown}
    top_before, top_after = before.first(PAGE), after.first(PAGE)
    console.rule(f"the feed {elapsed_ms:.0f} ms later", align="left")
    table = _table(console, "#", "was", "", "title", "board", "interests", "score")
    for one in after.shown[:_ROWS]:
        shown = one.item.display
        style = "bold" if act.interest in one.interests else ""
        table.add_row(
            str(one.rank),
            _moved(was.get(one.item.pin), one.rank),
            _mark(fits=one.fits),
            Text(shown.title, style=style),
            Text(shown.board_title),
            Text(", ".join(shown.interests), style="dim"),
            f"{one.item.score:.2f}",
        )
    console.print(table)
    console.print(
        f"{act.interest} among the first {PAGE}: [bold]{len(top_before.having(act.interest))} before, "
        f"{len(top_after.having(act.interest))} after[/]. The saved pins count as seen, and are gone.",
        highlight=False,
    )


@dataclass(frozen=True)
class Story:
    """What was shown: FOLLOWING before and after the action, newest first, and the other feeds after it."""

    before: Page
    newest: Page
    others: Mapping[str, Page]
    act: Act | None = None
    after: Page | None = None


def draw_wall(path: Path, person: Person, story: Story) -> None:
    """The story as pictures."""
    before, act = story.before, story.act
    ranked = f"Ranked by model {before.model}." if before.model else "Ranked by light score."
    sections = [Section("Before", ranked, _cards(person, before.first(PAGE)))]
    if act is not None and story.after is not None:
        note = f"After {len(act.pins)} pins of {act.interest} were saved."
        sections.append(Section("After", note, _cards(person, story.after.first(PAGE))))
    sections += [
        Section(feed.replace("_", " ").capitalize(), "At the same moment.", _cards(person, page))
        for feed, page in story.others.items()
    ]
    newest = _cards(person, story.newest)
    sections.append(Section("Newest first", "The same boards without a model, for comparison.", newest))
    write_wall(
        path,
        f"The feed of {person.key}",
        sections,
        person=person.key,
        taste=describe_taste(person.world, person.index),
    )


def print_next(
    console: Console, layout: Layout, person: Person, pin_key: str, wall: Path, *, stays: bool
) -> None:
    """Commands to go on with, exactly as they are to be typed."""
    here = f"--data-dir {shlex.quote(str(layout.data_dir))}"
    mesh = _program()
    board = person.world.boards.keys[0]
    feedgen = layout.addresses("feedgen")[0]
    metrics = next(one.metrics_address for one in layout.processes if one.service == "feedgen")
    lines = {
        "see the pictures": wall.resolve().as_uri(),
        "start the mesh": "" if stays else f"{mesh} up {here} --detach",
        "the blend, and how it was made": f"{mesh} feed {person.key} {here} --type home --explain",
        "why each pin has its score": f"{mesh} feed {person.key} {here} --why",
        "the same boards ranked otherwise": f"{mesh} feed {person.key} {here} --ranking newest --dry-run",
        "do something, and see it": (
            f"TOKEN=$({mesh} publish action user={person.key} pin={pin_key} action=click {here})\n"
            f"  {mesh} feed {person.key} {here} --token $TOKEN"
        ),
        "hide a board in every feed": f"{mesh} publish hide user={person.key} board={board} {here}",
        "the walks' graph": f"{mesh} pixie list {here}",
        "an experiment, which applies at once": f"$EDITOR {shlex.quote(str(layout.experiments_path))}",
        "follow a board": f"{mesh} publish follow user={person.key} board={board} {here}",
        "who is ready": f"{mesh} status {here}",
        "train again, with what happened since": f"{mesh} train {here}",
        "the models, and what they are given": f"{mesh} models list {here}\n  {mesh} features explain",
        "metrics": f"curl http://{metrics}/metrics",
        "from your own code": f"grpcurl -plaintext -d '{{\"user\": {person.id}}}' {feedgen} "
        "feedmesh.feedgen.v1.FeedGeneratorService/GetFeed",
    }
    console.rule("try next", align="left")
    for words, command in lines.items():
        if command:
            console.print(f"[dim]{words}:[/]\n  {command}", highlight=False, soft_wrap=True)


def _cards(person: Person, page: Page) -> list[Card]:
    return [
        Card(
            picture=person.world.picture(one.pin),
            title=one.item.display.title,
            board=one.item.display.board_title,
            owner=one.item.display.owner_name,
            why=one.item.reason,
            score=one.item.score,
            matches=one.fits,
        )
        for one in page.shown
    ]


def _table(console: Console, *columns: str) -> Table:
    """Numbers keep their width; texts share what a terminal has left, up to what they need."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, _GAP, 0, 0))
    wanted = sum(_WIDE.get(column, 0) for column in columns)
    taken = sum(_NARROW.get(column, 0) + _GAP for column in columns)
    share = min(1.0, max(console.width - taken, 0) / wanted)
    for column in columns:
        narrow = _NARROW.get(column)
        table.add_column(
            column,
            justify="right" if narrow is not None else "left",
            no_wrap=True,
            width=narrow if narrow is not None else max(4, int(_WIDE[column] * share)),
        )
    return table


def _mark(*, fits: bool) -> str:
    return f"[green]{_FIT}[/]" if fits else ""


def _moved(was: int | None, now: int) -> str:
    if was is None:
        return f"[green]>{DEEP}[/]"
    return f"[green]{was}[/]" if was > now + PAGE else f"[dim]{was}[/]"


def _program() -> str:
    """How this very command is called from here."""
    if shutil.which("feedmesh"):
        return "feedmesh"
    called = Path(sys.argv[0])
    here = Path.cwd()
    return shlex.quote(str(called.relative_to(here) if called.is_relative_to(here) else called))
