"""The commands of `feedmesh pixie`."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from services.cli.options import DEFAULT_DATA_DIR, DataDir

if TYPE_CHECKING:
    from services.pixie.building.build import Built
    from services.pixie.building.options import BuildOptions
    from services.pixie.building.source import EdgeSource

pixie_app = typer.Typer(
    name="pixie",
    help="Graphs of pins and boards for Pixie's walks: build one, see which there are, remove old ones.",
    no_args_is_help=True,
)


class BiasName(StrEnum):
    """What walks may prefer, as it is typed."""

    NONE = "none"
    LANGUAGE = "language"
    INTEREST = "interest"


Graphs = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "--graphs",
        help="Folder of graphs; left away, `graphs` in the data folder, which Pixie watches.",
        metavar="FOLDER",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]


@pixie_app.command()
def build(
    edges: Annotated[
        Path | None,
        typer.Option(
            help="Edges: .csv, .parquet, .npz or .npy with a pin and a board each. Left away: from the log "
            "of the mesh, which must run.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    polaris: Annotated[
        list[Path] | None,
        typer.Option(
            help="Instead: the pins that boards have now, from a store or checkpoint of Polaris; once for "
            "each of its hosts. A running one is not disturbed.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    attributes: Annotated[
        Path | None,
        typer.Option(
            help="Languages and interests of pins: .csv or .parquet with pin, language, interests (; between "
            "them). Left away: what the log says of them.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    bias: Annotated[
        BiasName, typer.Option(help="What walks may prefer: neighbours of a language, or of an interest.")
    ] = BiasName.NONE,
    delta: Annotated[
        float,
        typer.Option(
            help="A pin of d boards keeps d^delta: those most like it by interests, else the smallest. 0.91 "
            "in the paper; 1 keeps all.",
        ),
    ] = 1.0,
    board_entropy_drop: Annotated[
        float, typer.Option(help="Share of boards left out for the most diverse interests, 0 to 0.9.")
    ] = 0.0,
    min_board_pins: Annotated[int, typer.Option(help="Smaller boards are left out.")] = 1,
    max_board_pins: Annotated[int, typer.Option(help="Larger boards are left out; 0: none is.")] = 0,
    memory_mb: Annotated[
        int, typer.Option("--memory-mb", help="Memory for sorting; what does not fit goes to the disk.")
    ] = 1_024,
    suffix: Annotated[
        str, typer.Option(help="End of the version's name, after the time.", show_default=False)
    ] = "",
    out: Graphs = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Build a graph; Pixie takes it over by itself while it serves.

    The graph is there whole or not at all: what is interrupted leaves nothing. Ids are integers from 1, or
    strings, hashed as `feedmesh load` does. Edges may be more than memory holds.
    """
    # Late: numba takes seconds to import, which `feedmesh --help` need not pay.
    from services.cli.pixie.report import built_table
    from services.cli.pixie.sources import opened_source
    from services.pixie.building.options import Bias, BuildOptions

    options = BuildOptions(
        memory_bytes=memory_mb << 20,
        bias=Bias(bias.value),
        pin_degree_power=delta,
        board_entropy_drop=board_entropy_drop,
        min_board_pins=min_board_pins,
        max_board_pins=max_board_pins,
    )
    options.check()
    console = Console()
    began = time.monotonic()
    with opened_source(data_dir, edges=edges, attributes=attributes, polaris=polaris or []) as source:
        _warn(console, source, options, has_attributes=attributes is not None)
        built = _build(console, source, out or data_dir / "graphs", options, suffix)
    console.print(built_table(built, took_s=time.monotonic() - began))
    console.print(f"{built.folder}", highlight=False, soft_wrap=True)


@pixie_app.command("list")
def list_command(out: Graphs = None, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Every graph, the newest first: what it is of, how large it is, which one serves, why others do not."""
    from services.cli.pixie.report import documents, versions, versions_table
    from services.cli.pixie.serving import answering

    graphs_dir = out or data_dir / "graphs"
    found, told = versions(graphs_dir), answering(data_dir)
    if as_json:
        print(json.dumps(list(documents(found, told)), indent=1))
        return
    console = Console()
    if found:
        console.print(versions_table(found, told))
    else:
        console.print(f"no graphs in {graphs_dir}; feedmesh pixie build makes one", highlight=False)
    for one in told:
        if one.version not in {version.name for version in found}:
            answer = (
                f"answers from {one.version}, which is not in {graphs_dir}" if one.version else one.refused
            )
            console.print(f"{one.process}: {answer}", highlight=False, soft_wrap=True)


@pixie_app.command()
def remove(
    keep: Annotated[int, typer.Option(help="How many of the newest stay.", min=1)] = 3,
    out: Graphs = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Remove all but the newest graphs; one that serves stays in any case."""
    from services.cli.pixie.serving import answering
    from services.pixie import graph_files

    graphs_dir = out or data_dir / "graphs"
    serving = {one.version for one in answering(data_dir)}
    removed = [name for name in graph_files.version_names(graphs_dir)[:-keep] if name not in serving]
    for name in removed:
        graph_files.drop(graphs_dir / name)
        Console().print(f"{graphs_dir / name} removed", highlight=False, soft_wrap=True)
    if not removed:
        Console().print(f"nothing to remove in {graphs_dir}", highlight=False)


def _build(
    console: Console, source: EdgeSource, graphs_dir: Path, options: BuildOptions, suffix: str
) -> Built:
    from services.cli.pixie.building_steps import BuildingSteps
    from services.pixie.building.build import build as build_graph

    with BuildingSteps(console) as steps:
        now_ms = time.time_ns() // 1_000_000
        return build_graph(source, graphs_dir, options, now_ms=now_ms, suffix=suffix, progress=steps)


def _warn(console: Console, source: EdgeSource, options: BuildOptions, *, has_attributes: bool) -> None:
    """Say what a build does without, when that would not be noticed otherwise."""
    from services.cli.pixie.log_source import LogSource
    from services.cli.pixie.sources import WithAttributes

    if isinstance(source, WithAttributes):
        source = source.source
    if isinstance(source, LogSource) and source.begins_late:
        console.print(
            "the log was trimmed: what was saved before its first record is not in this graph; --polaris has "
            "what boards hold",
            style="yellow",
            highlight=False,
        )
    if options.wants_attributes and not has_attributes and not isinstance(source, LogSource):
        console.print(
            "nothing is known of languages and interests: name a file with --attributes",
            style="yellow",
            highlight=False,
        )
