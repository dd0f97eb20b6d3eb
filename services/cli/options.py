"""Options that several commands share, so that they are spelled and explained alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

DEFAULT_DATA_DIR: Final = Path("feedmesh-data")

DataDir = Annotated[
    Path,
    typer.Option(
        "--data-dir",
        envvar="FEEDMESH_DATA_DIR",
        help="Folder of the mesh: its stores, logs, models and shard map.",
        show_default=True,
    ),
]

Bootstrap = Annotated[
    str,
    typer.Option("--bootstrap", help="Kafka's brokers.", metavar="HOST:PORT,…", show_default=False),
]

KafkaFile = Annotated[
    Path | None,
    typer.Option(
        "--kafka",
        help="TOML file about Kafka: table `connection` (TLS, SASL, topic prefix …) and table `topics`. "
        "docs/log.md has an example.",
        metavar="FILE",
    ),
]


def config_dir() -> Path:
    """The configuration that is shipped: in the sources of a checkout, inside the package when installed."""
    packaged = Path(__file__).parent / "config"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "deploy" / "config"
