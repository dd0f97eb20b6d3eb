"""The command `feedmesh demo`: a mesh, a world in it, a model trained on it, and a feed to look at.

Owns the order of the steps, and the seconds that each took. The first run loads the world and trains; later
runs find both in the data folder. Next: `loading.py`, `story.py`, `showing.py`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from feedmesh.feedgen.v1 import feedgen_pb2
from services.chassis.errors import TooLate, Unavailable
from services.cli.connection import Connection, reading_after
from services.cli.demo import events, showing
from services.cli.demo.addresses import addressed
from services.cli.demo.audience import simulate
from services.cli.demo.feeds import Feeds, show_feeds, show_hidden, show_picked_after
from services.cli.demo.loading import BATCH_EVENTS, Chapter, Place, load
from services.cli.demo.making import make_world
from services.cli.demo.story import DEEP, PAGE, Person, choose_act, choose_person
from services.cli.demo.world import Scale, World
from services.cli.faults import CliFault, Interrupted
from services.cli.mesh.layout import Layout
from services.cli.options import config_dir
from services.cli.up import ENDINGS, running_mesh
from services.scorpion.model_files import read_serving

AUDIENCE_SEED: Final = 1
DAYS: Final = 21
_WHOLE_S_MAX: Final = 120.0
"""Views may be behind a log that was loaded in one go."""


def demo_command(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Folder of the demo's mesh.", show_default=True)
    ] = Path("build/demo"),
    once: Annotated[bool, typer.Option("--once", help="Stop the mesh after the feed.")] = False,
    scale: Annotated[float, typer.Option(help="Size of the world; 1: 3,000 people.", min=0.05, max=4)] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the world.", min=0, max=2**31 - 1)] = 1,
    person: Annotated[str, typer.Option(help="Whose feed; left away, someone with a clear taste.")] = "",
) -> None:
    """Start a mesh on a world of its own, train on it, and show how feeds follow a taste.

    People, pictures and actions are simulated, from a seed.
    """
    console = Console()
    phases = Phases(console)
    layout = Layout.open_or_create(data_dir, ports=None, hosts={})
    place = Place.open(data_dir, seed=seed, scale=scale, now_ms=time.time_ns() // 1_000_000)
    console.print(
        f"A world of {_size(scale).people:,} people from seed {seed}. "
        "[bold]People, pictures and actions are simulated.[/]",
        highlight=False,
    )
    with ThreadPoolExecutor(1) as pool, running_mesh(layout) as mesh:
        # The world is drawn while the processes start.
        making = pool.submit(_make, place)
        with phases.phase("mesh"):
            mesh.wait_until_ready(console)
        with _interruptible(), Connection(layout) as connection:
            _tell(console, connection, layout, place, making, phases, person=person, stays=not once)
        phases.print()
        if not once:
            console.print(f"The mesh stays up; logs are in {data_dir / 'log'}. Ctrl-C drains and stops it.")
            mesh.stay()
        console.print("draining …")


class Phases:
    """How long each part took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = time.monotonic() - began

    def print(self) -> None:
        """One line."""
        parts = "  ".join(f"{name} {seconds:.1f} s" for name, seconds in self._seconds.items())
        total = time.monotonic() - self._began
        self._console.print(f"took {total:.1f} s: {parts}", style="dim", highlight=False, soft_wrap=True)


def _tell(
    console: Console,
    connection: Connection,
    layout: Layout,
    place: Place,
    making: Future[World],
    phases: Phases,
    *,
    person: str,
    stays: bool,
) -> None:
    with phases.phase("world"):
        world = making.result()
        ids = events.Ids.of(world)
        someone = Person(world, ids, choose_person(world, person, turn=place.turn))
    if not place.loaded:
        _load(console, connection, place, world, ids, phases)
    if not read_serving(layout.models_dir):
        with phases.phase("train"):
            _train(console, connection)
    if not any(layout.graphs_dir.glob("*")):
        with phases.phase("graph"):
            _build_graph(console, layout)
    with phases.phase("catch up"), console.status("waiting until every view has read the log …"):
        _wait_until_whole(connection, someone, place)
    with phases.phase("feed"):
        _show(console, connection, layout, someone, stays=stays)
    if not person:
        place.turn += 1
        place.write()


def _show(console: Console, connection: Connection, layout: Layout, person: Person, *, stays: bool) -> None:
    before = person.look(connection, size=DEEP)
    if not before.shown:
        logs = layout.data_dir / "log"
        raise CliFault(f"the feed of {person.key} is empty; the processes' logs are in {logs}")
    light = person.look(connection, ranking=feedgen_pb2.RANKING_LIGHT_SCORE)
    newest = person.look(connection, ranking=feedgen_pb2.RANKING_NEWEST)
    top = before.first(PAGE)
    showing.print_before(console, person, top, {"by light score": light, "newest first": newest})
    act, after, token = choose_act(before), None, b""
    feeds_before = Feeds.of(connection, person)
    if act is not None:
        showing.print_act(console, person, act)
        began = time.monotonic()
        token = person.act(connection, act)
        after = person.look(connection, size=DEEP, token=token)
        elapsed_ms = (time.monotonic() - began) * 1000
        showing.print_after(console, act, before, after, elapsed_ms=elapsed_ms)
    feeds = show_feeds(console, connection, person, token=token)
    if act is not None:
        show_picked_after(console, feeds_before, feeds, act)
    show_hidden(console, connection, person)
    wall = layout.data_dir / "wall.html"
    others = {feed: person.page(answer) for feed, answer in feeds.answers.items() if feed != "following"}
    showing.draw_wall(wall, person, showing.Story(before, newest, others, act, after))
    pin = person.world.pins.keys[(after or before).shown[0].pin]
    showing.print_next(console, layout, person, pin, wall, stays=stays)


def _load(
    console: Console, connection: Connection, place: Place, world: World, ids: events.Ids, phases: Phases
) -> None:
    from services.cli.train.declared import Declared

    schema = Declared.read(config_dir()).pin_schema
    if schema is None:
        raise CliFault("Rockstore declares no rows of pins, which the demo's features are made of")
    with phases.phase("audience"), console.status("simulating what people see and do …"):
        sessions = list(simulate(world, AUDIENCE_SEED, days=_days(world)))
    people_count = len(ids.people) + len(ids.boards) + len(world.interest_names)
    chapters = [
        Chapter("people and boards", lambda: events.people_and_boards(world, ids), people_count),
        Chapter("pins", lambda: events.pins(world, ids, schema), 3 * len(ids.pins)),
        Chapter("follows", lambda: events.follows(world, ids), len(world.follows.person)),
        Chapter(
            "simulated weeks",
            lambda: events.weeks(world, ids, sessions),
            sum(1 + len(session.actions) for session in sessions),
        ),
    ]
    began, before = time.monotonic(), sum(place.batches.values()) * BATCH_EVENTS
    with phases.phase("load"), _bar(console) as bar:
        for chapter in chapters:
            task = bar.add_task(chapter.name, total=chapter.event_count)
            load(connection, place, chapter, lambda count, task=task: bar.advance(task, count))  # type: ignore[misc]
        place.loaded = True
        place.write()
    total = max(sum(chapter.event_count for chapter in chapters) - before, 0)
    seconds = time.monotonic() - began
    console.print(
        f"published {total:,} events through Ingest in {seconds:.1f} s ({total / seconds:,.0f} a second): "
        f"{len(ids.people):,} people, {len(ids.boards):,} boards, {len(ids.pins):,} pins, "
        f"{sum(len(session.pins) for session in sessions):,} impressions over {_days(world)} simulated days",
        highlight=False,
    )


def _train(console: Console, connection: Connection) -> None:
    # Late: LightGBM takes a second to import, and later runs do not need it.
    from services.cli.train.declared import Declared
    from services.cli.train.pipeline import HOLDOUT_DAYS, train_from_log
    from services.cli.train.replay import ReplayOptions
    from services.cli.train.report import print_outcome
    from services.scorpion.training import TrainingOptions

    console.rule("training on the log", align="left")
    outcome = train_from_log(
        connection,
        Declared.read(config_dir()),
        console,
        training=TrainingOptions(holdout_days=HOLDOUT_DAYS, threads=1),
        rows=ReplayOptions(),
    )
    print_outcome(console, outcome)


def _build_graph(console: Console, layout: Layout) -> None:
    """Pixie's graph of who saved what, from the log; returns when Pixie answers from it."""
    from services.cli.pixie.building_steps import BuildingSteps
    from services.cli.pixie.serving import answering
    from services.cli.pixie.sources import opened_source
    from services.pixie.building.build import build
    from services.pixie.building.options import BuildOptions

    console.rule("a graph for the walks, from the log", align="left")
    opened = opened_source(layout.data_dir, edges=None, attributes=None, polaris=())
    with opened as source, BuildingSteps(console) as steps:
        now_ms = time.time_ns() // 1_000_000
        built = build(source, layout.graphs_dir, BuildOptions(), now_ms=now_ms, progress=steps)
    until = time.monotonic() + _WHOLE_S_MAX
    while not any(one.version == built.folder.name for one in answering(layout.data_dir)):
        if time.monotonic() > until:
            raise CliFault(
                f"Pixie does not answer from {built.folder}; its log is in {layout.data_dir / 'log'}"
            )
        time.sleep(0.1)


def _wait_until_whole(connection: Connection, person: Person, place: Place) -> None:
    """Wait until a feed that must see all of the world comes whole, from the promoted model.

    Raises CliFault with what was missing to the end.
    """
    models = connection.layout.models_dir
    promoted = read_serving(models)
    token = bytes.fromhex(place.token)
    until = time.monotonic() + _WHOLE_S_MAX
    while missing := _missing(connection, person, token, promoted):
        if time.monotonic() > until:
            raise CliFault(f"the feed is not whole after {_WHOLE_S_MAX:.0f} s: {missing}")
        time.sleep(0.1)


def _missing(connection: Connection, person: Person, token: bytes, promoted: str) -> str:
    """What the feed lacks; empty when it is whole."""
    request = feedgen_pb2.GetFeedRequest(user=person.id, page_size=PAGE, dry_run=True)
    request.display_mask.paths.append("*")
    try:
        with reading_after(token):
            answer = connection.feed(request)
    except (Unavailable, TooLate) as fault:
        return str(fault)
    if answer.model != promoted:
        return f"ranked by {answer.model or 'no model'}, not by {promoted}"
    return "; ".join(
        f"{stage.stage}: {stage.detail}"
        for stage in answer.stages
        if stage.status in (feedgen_pb2.STAGE_STATUS_PARTIAL, feedgen_pb2.STAGE_STATUS_MISSED)
    )


def _make(place: Place) -> World:
    world = make_world(place.seed, _size(place.scale), now_ms=place.now_ms)
    return addressed(world)


def _size(scale: float) -> Scale:
    return Scale() if scale == 1 else Scale().shrunk(scale)


def _days(world: World) -> int:
    return min(DAYS, world.scale.span_days)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        EventsPerSecond(),
        TimeElapsedColumn(),
        console=console,
    )


class EventsPerSecond(ProgressColumn):
    """The speed of a task."""

    def render(self, task: Task) -> Text:
        """Such as `8,123/s`."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", style="dim")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the work inside at once; the mesh around it drains."""
    old = {number: signal.getsignal(number) for number in ENDINGS}
    for number in old:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _interrupt(*_: int | FrameType | None) -> NoReturn:
    raise Interrupted("interrupted; run it again to go on")
