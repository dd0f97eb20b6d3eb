"""The command `feedmesh train`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.cli.connection import Connection
from services.cli.faults import UsageFault
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir, config_dir


class From(StrEnum):
    """What is trained on."""

    FEATURES = "features"
    LOG = "log"


class Objective(StrEnum):
    """What is optimised."""

    LAMBDARANK = "lambdarank"
    BINARY = "binary"


Source = Annotated[
    From | None,
    typer.Option(
        "--from",
        help="features: what serving logged. log: features computed anew from the event log. "
        "Left away: features when there are enough of them.",
        show_default=False,
    ),
]
ObjectiveName = Annotated[
    Objective | None,
    typer.Option(
        "--objective",
        help="Left away: lambdarank from features, binary from the log.",
        show_default=False,
    ),
]
WindowHours = Annotated[
    float, typer.Option(help="An action counts so long after its pin was shown.", min=0.01)
]
HoldoutDays = Annotated[
    float, typer.Option(help="Days at the end that are not trained on, but judged.", min=0.001)
]
RowsMax = Annotated[
    int,
    typer.Option(
        help="Rows at most; beyond, the newest of the feature log, an even sample of the event log's "
        "sessions.",
        min=1_000,
    ),
]
Threads = Annotated[
    int, typer.Option(help="Threads of the fit; more than one pays on an idle machine only.", min=1)
]
RecordsMax = Annotated[
    int, typer.Option(help="Refuse a log with more records of actions and objects.", min=1)
]
NoPromote = Annotated[
    bool, typer.Option("--no-promote", help="Write the model, but let the present one serve.")
]
Force = Annotated[
    str,
    typer.Option(
        help="Let it serve even when it ranks worse; the reason goes into its card.",
        metavar="REASON",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None, typer.Option(help="Folder with <service>.toml files, instead of the shipped ones.")
]


def train_command(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    name: Annotated[str, typer.Option(help="Name of the model; the time when left away.")] = "",
    source: Source = None,
    objective: ObjectiveName = None,
    window_hours: WindowHours = 24.0,
    holdout_days: HoldoutDays = 3.0,
    trees: Annotated[int, typer.Option(help="Trees.", min=1, max=2_000)] = 100,
    rows_max: RowsMax = 300_000,
    threads: Threads = 1,
    records_max: RecordsMax = 5_000_000,
    no_promote: NoPromote = False,
    force: Force = "",
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON document.")] = False,
) -> None:
    """Train a ranking model from the log, judge it on the last days, and let it serve if it is better.

    From the feature log: rows as they were served, with what became of them. Else the event log
    is read from its beginning, replayed in order of time, and features are computed as serving
    would have. The model is refused when it ranks no better than light score or newest first, or
    worse than the one that serves, beyond chance. Scorpion takes a promoted model up by itself.
    """
    if force and no_promote:
        raise UsageFault("--force lets a model serve, --no-promote keeps it from it; give one of them")
    # Late: numba and LightGBM take seconds to import, which `feedmesh --help` need not pay.
    from services.cli.train.declared import Declared
    from services.cli.train.pipeline import Asked, Wanted, train_from_best
    from services.cli.train.report import as_document, print_outcome
    from services.cli.train.trained import new_name

    console = Console(stderr=as_json)
    with Connection(Layout.open(data_dir)) as connection:
        outcome = train_from_best(
            connection,
            Declared.read(config or config_dir()),
            console,
            asked=Asked(
                origin=None if source is None else source.value,
                objective=None if objective is None else objective.value,
                window_ms=int(window_hours * 3_600_000),
                holdout_days=holdout_days,
                trees=trees,
                rows_max=rows_max,
                threads=threads,
                records_max=records_max,
            ),
            wanted=Wanted(name=name or new_name(), may_promote=not no_promote, force=force),
        )
    if as_json:
        print(json.dumps(as_document(outcome), indent=2))
    else:
        print_outcome(console, outcome)
