"""The commands of `feedmesh models`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.status import Status

from services.cli.connection import Connection
from services.cli.faults import MeshUnavailable
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir, config_dir

if TYPE_CHECKING:
    from services.cli.models.moving import Moved
    from services.cli.models.scorpions import Told

models_app = typer.Typer(
    name="models",
    help="Versions of the ranking model: what there is, how good it is, which one serves.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON instead of text.")]
Config = Annotated[Path | None, typer.Option(help="Folder with features.toml, instead of the shipped one.")]
WaitS = Annotated[
    float, typer.Option(help="Seconds to wait until the running Scorpions serve it.", min=0, max=600)
]


@models_app.command("list")
def list_command(
    data_dir: DataDir = DEFAULT_DATA_DIR, config: Config = None, as_json: AsJson = False
) -> None:
    """Every version: when and on what it was trained, how it ranks, and whether it serves.

    A version that a running Scorpion has not loaded is checked here, as Scorpion does, to say why.
    """
    # Late: numba takes seconds to import, which `feedmesh --help` need not pay.
    from services.cli.models.report import as_documents, list_text, versions_table
    from services.cli.models.states import states_of
    from services.cli.models.versions import versions
    from services.scorpion.feature_file import load_feature_list

    layout = Layout.open(data_dir)
    with Connection(layout) as connection:
        told = _ask(connection)
    found = versions(layout.models_dir)
    states = states_of(
        layout.models_dir, found, told, load_feature_list((config or config_dir()) / "features.toml")
    )
    if as_json:
        print(json.dumps(as_documents(found, states), indent=1))
        return
    console = Console()
    if found:
        console.print(versions_table(found, states))
    console.print(list_text(layout.models_dir, found, states, told), highlight=False, soft_wrap=True)


@models_app.command()
def show(
    name: Annotated[str, typer.Argument(help="The model; left away, the serving one.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """The card of a model: data, metrics with intervals, features, verdict."""
    from services.cli.models.report import print_card
    from services.cli.models.versions import serving_version, version

    directory = Layout.open(data_dir).models_dir
    chosen = version(directory, name) if name else serving_version(directory)
    if as_json:
        print(json.dumps(chosen.card, indent=1))
    else:
        print_card(Console(), chosen)


@models_app.command()
def promote(
    name: Annotated[str, typer.Argument(help="The model.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    force: Annotated[
        str,
        typer.Option(
            help="Let it serve even when it was judged worse; the reason goes into its card.",
            metavar="REASON",
            show_default=False,
        ),
    ] = "",
    wait_s: WaitS = 30.0,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Check a model as Scorpion would, let it serve, and wait until it does.

    Exit code 3 when a running Scorpion does not serve it in time; it then goes on with what it has.
    """
    from services.cli.models.moving import promote_model
    from services.scorpion.feature_file import load_feature_list

    layout = Layout.open(data_dir)
    features = load_feature_list((config or config_dir()) / "features.toml")
    with Connection(layout) as connection, _waiting(f"waiting until {name} serves", as_json=as_json):
        moved = promote_model(
            layout.models_dir, name, features, lambda: _ask(connection), force=force, wait_s=wait_s
        )
    _say(layout, moved, as_json=as_json)


@models_app.command()
def rollback(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    wait_s: WaitS = 30.0,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Let the model serve that served before the present one, and wait until it does.

    A second rollback goes one further back, not forth again. Exit codes as of promote.
    """
    from services.cli.models.moving import roll_back
    from services.scorpion.feature_file import load_feature_list

    layout = Layout.open(data_dir)
    features = load_feature_list((config or config_dir()) / "features.toml")
    with Connection(layout) as connection, _waiting("waiting until it serves", as_json=as_json):
        moved = roll_back(layout.models_dir, features, lambda: _ask(connection), wait_s=wait_s)
    _say(layout, moved, as_json=as_json)


def _ask(connection: Connection) -> Sequence[Told]:
    from services.cli.models.scorpions import ask_scorpions

    return ask_scorpions(connection)


def _waiting(text: str, *, as_json: bool) -> Status:
    return Console(stderr=as_json).status(text)


def _say(layout: Layout, moved: Moved, *, as_json: bool) -> None:
    """Raises MeshUnavailable when a running Scorpion does not follow."""
    from services.cli.models.report import moved_document, moved_text

    if as_json:
        print(json.dumps(moved_document(moved), indent=1))
    else:
        Console().print(moved_text(moved), highlight=False, soft_wrap=True)
    if moved.behind:
        said = ", ".join(f"{one.process} serves {one.serving or 'none'}" for one in moved.behind)
        raise MeshUnavailable(
            f"{moved.name} was promoted, but {said}; {layout.data_dir / 'log'} has why, and "
            "feedmesh models rollback takes it back"
        )
