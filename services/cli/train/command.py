"""The command `feedmesh train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.cli.connection import Connection
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir, config_dir


def train_command(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    name: Annotated[str, typer.Option(help="Name of the model; the time when left away.")] = "",
    holdout_days: Annotated[
        float, typer.Option(help="Days at the end that are not trained on, but judged.", min=0.01)
    ] = 3.0,
    trees: Annotated[int, typer.Option(help="Trees.", min=1, max=2_000)] = 100,
    rows_max: Annotated[
        int, typer.Option(help="Impressions at most; beyond, an even sample of the sessions.", min=1_000)
    ] = 300_000,
    threads: Annotated[
        int, typer.Option(help="Threads of the fit; more than one pays on an idle machine only.", min=1)
    ] = 1,
    records_max: Annotated[
        int, typer.Option(help="Refuse a log with more records of actions and objects.", min=1)
    ] = 5_000_000,
    no_promote: Annotated[
        bool, typer.Option("--no-promote", help="Write the model, but let the present one serve.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Folder with <service>.toml files, instead of the shipped ones.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON document.")] = False,
) -> None:
    """Train a ranking model from the log, judge it on the last days, and let it serve if it is better.

    Reads the log of a running mesh from its beginning, replays it in order of time, and computes for each
    impression the features that serving would have computed. Scorpion takes the new model up by itself.
    """
    # Late: numba and LightGBM take seconds to import, which `feedmesh --help` need not pay.
    from services.cli.train.declared import Declared
    from services.cli.train.pipeline import train_from_log
    from services.cli.train.replay import ReplayOptions
    from services.cli.train.report import as_document, print_outcome
    from services.scorpion.training import TrainingOptions

    console = Console(stderr=as_json)
    with Connection(Layout.open(data_dir)) as connection:
        outcome = train_from_log(
            connection,
            Declared.read(config or config_dir()),
            console,
            training=TrainingOptions(holdout_days=holdout_days, tree_count=trees, threads=threads),
            rows=ReplayOptions(rows_max=rows_max),
            records_max=records_max,
            name=name,
            may_promote=not no_promote,
        )
    if as_json:
        print(json.dumps(as_document(outcome), indent=2))
    else:
        print_outcome(console, outcome)
