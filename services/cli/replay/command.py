"""The command `feedmesh replay`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.cli.connection import Connection
from services.cli.faults import CliFault, UsageFault
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir, config_dir

Against = Annotated[
    str, typer.Option(help="What it is compared with: another model, or logged: the scores as served.")
]
From = Annotated[
    str,
    typer.Option(
        "--from",
        help="First moment: milliseconds since 1970 or ISO 8601, UTC where it names no zone.",
        metavar="TIME",
        show_default=False,
    ),
]
Until = Annotated[
    str,
    typer.Option("--until", help="Moment before which it ends.", metavar="TIME", show_default=False),
]
WindowHours = Annotated[
    float, typer.Option(help="An action counts so long after its pin was served.", min=0.01)
]
ShowMax = Annotated[
    int, typer.Option("--show", help="Requests that change most, to be listed.", min=0, max=1_000)
]
NoActions = Annotated[bool, typer.Option("--no-actions", help="Do not read the event log; no NDCG.")]
Config = Annotated[Path | None, typer.Option(help="Folder with features.toml, instead of the shipped one.")]


def replay_command(
    model: Annotated[str, typer.Option(help="The model that scores the logged requests again.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    against: Against = "logged",
    start: From = "",
    until: Until = "",
    window_hours: WindowHours = 24.0,
    rows_max: Annotated[int, typer.Option(help="Rows at most, the newest.", min=100)] = 300_000,
    show_max: ShowMax = 10,
    no_actions: NoActions = False,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON document.")] = False,
) -> None:
    """Score logged requests again with another model, and say what would change.

    The same logs and models give the same output, byte for byte. Against the logged scores, rows
    that the model itself served must come out as logged, within 1e-6: otherwise training and
    serving do not agree, and the exit code is 1.
    """
    # Late: numba takes seconds to import, which `feedmesh --help` need not pay.
    from services.cli.replay.report import as_document, print_replayed
    from services.cli.replay.run import Asked, replay_requests
    from services.scorpion.feature_file import load_feature_list

    console = Console(stderr=as_json)
    asked = Asked(
        model=model,
        against=against,
        from_ms=parsed_time(start, "--from") if start else None,
        until_ms=parsed_time(until, "--until") if until else None,
        window_ms=int(window_hours * 3_600_000),
        rows_max=rows_max,
        with_actions=not no_actions,
    )
    with Connection(Layout.open(data_dir)) as connection:
        features = load_feature_list((config or config_dir()) / "features.toml")
        replayed = replay_requests(connection, features, asked, console)
    if as_json:
        print(json.dumps(as_document(replayed, show_max), indent=1))
    else:
        print_replayed(console, replayed, show_max)
    if replayed.agreement is not None and replayed.agreement.off:
        raise CliFault(
            f"{model} does not reproduce {replayed.agreement.off:,} of the {replayed.agreement.rows:,} "
            "scores that it served: what is logged is not what it was given, or another model served"
        )


def parsed_time(written: str, option: str) -> int:
    """Milliseconds since 1970. Raises UsageFault."""
    if written.isdigit():
        return int(written)
    try:
        moment = datetime.fromisoformat(written)
    except ValueError as fault:
        raise UsageFault(
            f"{option} is {written!r}; write milliseconds since 1970 or ISO 8601 (2026-03-01T12:00:00Z)"
        ) from fault
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
