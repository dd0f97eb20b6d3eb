"""`feedmesh experiments`: what a file of experiments comes to, without a mesh.

Both commands read the file as the FeedGenerator does, over the recipes that come with feedmesh and, with
--recipes-dir, those of a deployment. Next: services/feedgen/experiments/text.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from services.chassis.errors import ConfigFaults
from services.cli.faults import UsageFault
from services.cli.feed import user_id
from services.feedgen.experiments.arms import BUCKET_COUNT, Experiment, Experiments, arm_ends
from services.feedgen.experiments.file import read_experiments, recipe_check
from services.feedgen.experiments.overrides import Settings
from services.feedgen.recipes.files import read_trees

experiments_app = typer.Typer(
    name="experiments", help="Experiments of a file: check it, and who is in what.", no_args_is_help=True
)

File = Annotated[Path, typer.Argument(help="TOML file of experiments.", metavar="FILE")]
RecipesDir = Annotated[
    Path | None,
    typer.Option("--recipes-dir", help="The FeedGenerator's `recipes_dir`, where it has one."),
]


@experiments_app.command("check")
def check_command(file: File, recipes_dir: RecipesDir = None) -> None:
    """Say every fault of a file, or what is in it."""
    experiments, _ = _read(file, recipes_dir)
    console = Console()
    if not experiments.all:
        console.print(f"{file}: no experiments", highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("experiment", "dial", "feeds", "arm", "of all", "sets"):
        table.add_column(column, justify="right" if column in ("dial", "of all") else "left")
    for experiment in experiments.all:
        for row in _arm_rows(experiment):
            table.add_row(*row)
    console.print(table)


@experiments_app.command("who")
def who_command(
    user: Annotated[str, typer.Argument(help="The user's id, an integer or the string it was loaded as.")],
    file: File,
    feed: Annotated[str, typer.Option(help="One feed; empty: each.")] = "",
    recipes_dir: RecipesDir = None,
) -> None:
    """Say which arms a user is in."""
    experiments, feeds = _read(file, recipes_dir)
    if feed and feed not in feeds:
        raise UsageFault(f"there is no feed {feed!r}: there are {', '.join(feeds)}")
    id = user_id(user)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("feed", "experiment", "arm", "sets"):
        table.add_column(column)
    for name in [feed] if feed else feeds:
        for assigned in experiments.arms(id, name):
            table.add_row(name, assigned.experiment, assigned.arm, _settings_words(assigned.settings))
    console = Console()
    if table.row_count:
        console.print(table)
    else:
        console.print(f"{user} is in no experiment of {feed or 'any feed'}", highlight=False)


def _read(file: Path, recipes_dir: Path | None) -> tuple[Experiments, list[str]]:
    """The experiments, and the names of all feeds."""
    try:
        trees = read_trees(recipes_dir)
        return read_experiments(file, recipe_check(trees), feeds=trees), sorted(trees)
    except ConfigFaults as fault:
        raise UsageFault("\n".join(fault.faults)) from None


def _arm_rows(experiment: Experiment) -> list[tuple[str, ...]]:
    ends = arm_ends([arm.weight for arm in experiment.arms])
    rows = []
    for arm, start, end in zip(experiment.arms, [0, *ends], ends, strict=False):
        share = experiment.dial * (end - start) / BUCKET_COUNT
        rows.append((arm.name, f"{share:.4g}%", _settings_words(arm.settings)))
    head = (experiment.name, f"{experiment.dial:g}%", ", ".join(sorted(experiment.feeds)))
    return [(*(head if place == 0 else ("", "", "")), *row) for place, row in enumerate(rows)]


def _settings_words(settings: Settings) -> str:
    return ", ".join(f"{key} = {value!r}" for key, value in settings.items()) or "nothing"
