"""The command `feedmesh features explain`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from services.cli.connection import Connection
from services.cli.faults import CliFault, UsageFault
from services.cli.load.faults import RowFault
from services.cli.load.ids import Names
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir, config_dir

if TYPE_CHECKING:
    from services.cli.train.declared import Declared

features_app = typer.Typer(
    name="features", help="What the models are given, and where it comes from.", no_args_is_help=True
)


@features_app.command()
def explain(
    names: Annotated[
        list[str] | None, typer.Argument(help="Features; all when left away.", metavar="NAME")
    ] = None,
    user: Annotated[
        str, typer.Option(help="With --pin: why the pin has its score for this user, in a running mesh.")
    ] = "",
    pin: Annotated[str, typer.Option(help="The pin, an integer or the string it was loaded as.")] = "",
    board: Annotated[
        str, typer.Option(help="The board that the pin is found on; its own when left away.")
    ] = "",
    model: Annotated[str, typer.Option(help="The model that scores; the serving one when left away.")] = "",
    data_dir: DataDir = DEFAULT_DATA_DIR,
    config: Annotated[
        Path | None, typer.Option(help="Folder with <service>.toml files, instead of the shipped ones.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document instead of a table.")] = False,
) -> None:
    """Say where features come from; with --user and --pin, what each of them adds to a score.

    Without a mesh it reads the configuration alone: exit code 1 when a feature reads a column, counter or
    signal that nobody declares.
    """
    # Late: numba takes a second to import, which `feedmesh --help` need not pay.
    from services.cli.train.declared import Declared

    if bool(user) != bool(pin) or (not pin and (board or model)):
        raise UsageFault("a score is of a --user and a --pin; --board and --model go with them")
    declared = Declared.read(config or config_dir())
    if pin:
        ids = {kind: _id(kind, text) for kind, text in (("user", user), ("pin", pin), ("board", board))}
        _explain_score(declared, names or [], ids, model=model, data_dir=data_dir, as_json=as_json)
    else:
        _explain_list(declared, names or [], as_json=as_json)


def _explain_list(declared: Declared, names: Sequence[str], *, as_json: bool) -> None:
    from services.cli.features.sources import described
    from services.cli.features.tables import list_documents, list_table

    found = described(declared, names)
    if as_json:
        print(json.dumps(list_documents(found), indent=1))
    else:
        Console().print(list_table(found))
    faulty = [one.feature.name for one in found if one.faults]
    if faulty:
        raise CliFault(f"always at their default, as nobody declares what they read: {', '.join(faulty)}")


def _explain_score(
    declared: Declared,
    names: Sequence[str],
    ids: dict[str, int],
    *,
    model: str,
    data_dir: Path,
    as_json: bool,
) -> None:
    from services.chassis.columns.packed import unpack_u64
    from services.cli.features.candidate import score_request
    from services.cli.features.scored import explain as explain_request
    from services.cli.features.sources import described
    from services.cli.features.tables import score_document, score_table

    with Connection(Layout.open(data_dir)) as connection:
        request = score_request(connection, **ids, signals=declared.features.signals, model=model)
        scored = explain_request(connection, request)
    unknown = [name for name in names if name not in {share.name for share in scored.shares}]
    if unknown:
        raise UsageFault(f"model {scored.model} has no feature {', '.join(unknown)}")
    board = int(unpack_u64(request.boards_u64)[0]) if request.boards_u64 else 0
    if as_json:
        print(
            json.dumps(score_document(scored, names, user=ids["user"], pin=ids["pin"], board=board), indent=1)
        )
        return
    console = Console()
    where = f"on board {board}" if board else "of no board that is known"
    console.print(
        f"pin {ids['pin']} {where} for user {ids['user']}, scored by {scored.model}", highlight=False
    )
    console.print(score_table(scored, described(declared), names))


def _id(kind: str, written: str) -> int:
    """The id as people write it; 0 when it was left away."""
    if not written:
        return 0
    try:
        return Names().id_of(kind, written, column=f"--{kind}")
    except RowFault as fault:
        raise UsageFault(str(fault)) from fault
