"""The commands `feedmesh factors build` and `feedmesh factors list`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.cli.faults import UsageFault
from services.cli.options import DEFAULT_DATA_DIR, DataDir, config_dir
from services.cli.replay.command import parsed_time

factors_app = typer.Typer(
    name="factors",
    help="Item factors: what saves teach of pins, for features factors.*",
    no_args_is_help=True,
)


class Stored(StrEnum):
    """How numbers are kept."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


Source = Annotated[
    Path | None,
    typer.Argument(
        help="File of pairs (.csv, .parquet or .npz: pin and board), or a graph of Pixie. Left away: the "
        "mesh's newest graph.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(help="Folder of factors, instead of that of the mesh.", show_default=False),
]
Regularisation = Annotated[
    float | None,
    typer.Option(
        help="λ of the least squares. Left away: 0.3 of what alpha and the weights of a mean board come to. "
        "Too little learns boards by heart, too much knows what is popular alone.",
        min=1e-9,
        show_default=False,
    ),
]
Until = Annotated[
    str,
    typer.Option(
        "--until",
        help="When the pairs end: milliseconds since 1970 or ISO 8601; left away: now. A training says which "
        "features may know what they are judged by.",
        metavar="TIME",
        show_default=False,
    ),
]
Config = Annotated[Path | None, typer.Option(help="Folder with features.toml, instead of the shipped one.")]


@factors_app.command("build")
def build_command(
    source: Source = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    out: Out = None,
    name: Annotated[str, typer.Option(help="Name of the factors.")] = "saves",
    version: Annotated[str, typer.Option(help="Name of the version; the time when left away.")] = "",
    dim: Annotated[int, typer.Option(help="Numbers of a pin's vector, 1 to 256.")] = 64,
    alpha: Annotated[float, typer.Option(help="Confidence of a pair is 1 + alpha · weight.", min=0.0)] = 10.0,
    regularisation: Regularisation = None,
    iterations: Annotated[int, typer.Option(help="Times both sides are solved.", min=1, max=1_000)] = 15,
    seed: Annotated[int, typer.Option(help="Of the random beginning.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads that learn.", min=1)] = 1,
    precision: Annotated[Stored, typer.Option(help="float16: half the memory.")] = Stored.FLOAT32,
    until: Until = "",
) -> None:
    """Learn a vector for each pin from who saved what, and write it as a version that features can name.

    Serving makes a vector of the user from a signal in each request; the feature's value is how near
    the two are. A version never changes, and knows pins of its time alone: build another one when
    many are new, declare it beside the old one, train, promote, then remove the old one.
    """
    # Late: numba and scipy take seconds to import, which `feedmesh --help` need not pay.
    from services.cli.factors.building import Wanted, build, new_version, print_built
    from services.cli.factors.learning import Options

    console = Console()
    built = build(
        source or data_dir / "graphs",
        Options(
            dim=dim,
            alpha=alpha,
            regularisation=regularisation,
            iterations=iterations,
            seed=seed,
            threads=threads,
        ),
        Wanted(
            directory=out or data_dir / "factors",
            name=name,
            version=version or new_version(),
            precision=precision.value,
            until_ms=parsed_time(until, "--until") if until else 0,
        ),
        console,
    )
    print_built(console, built)


@factors_app.command("list")
def list_command(data_dir: DataDir = DEFAULT_DATA_DIR, out: Out = None, config: Config = None) -> None:
    """Versions of item factors, and the features that read them."""
    from services.cli.factors.listing import list_table, listed
    from services.scorpion.feature_file import load_feature_list

    directory = out or data_dir / "factors"
    found = listed(directory, load_feature_list((config or config_dir()) / "features.toml"))
    if not found:
        raise UsageFault(f"{directory} holds no factors; feedmesh factors build makes some")
    Console().print(list_table(found), soft_wrap=True)
