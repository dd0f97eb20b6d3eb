"""The `feedmesh` command: registers the commands, turns errors into text and exit codes (`faults.py`)."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

import typer
from rich.console import Console

from services.chassis.errors import BadRequest, FeedmeshError, TooLate, Unavailable
from services.cli.demo.command import demo_command
from services.cli.experiments import experiments_app
from services.cli.factors.command import factors_app
from services.cli.faults import EXIT_FAULT, EXIT_UNAVAILABLE, EXIT_USAGE, CliFault, Interrupted
from services.cli.features.command import features_app
from services.cli.feed import feed
from services.cli.load.command import load_command
from services.cli.log.command import log_app
from services.cli.models.command import models_app
from services.cli.pixie.command import pixie_app
from services.cli.publish import publish
from services.cli.replay.command import replay_command
from services.cli.rockstore.command import rockstore_app
from services.cli.status import status
from services.cli.train.command import train_command
from services.cli.up import down, up

app = typer.Typer(
    name="feedmesh",
    help="A self-hosted home feed that is made at the moment it is asked for.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 fault, 2 wrong use, 3 mesh not there or too slow, 130 interrupted.",
)
app.command()(up)
app.command()(down)
app.command()(status)
app.command("load")(load_command)
app.command()(feed)
app.command()(publish)
app.command("train")(train_command)
app.command("replay")(replay_command)
app.command("demo")(demo_command)
app.add_typer(models_app)
app.add_typer(features_app)
app.add_typer(factors_app)
app.add_typer(experiments_app)
app.add_typer(log_app)
app.add_typer(pixie_app)
app.add_typer(rockstore_app)


def main() -> None:
    """Run the command line; never returns."""
    # Raised as one of ours: the library would turn Ctrl-C into exit code 1.
    signal.signal(signal.SIGINT, _interrupted)
    try:
        app()
    except CliFault as fault:
        _fail(str(fault), fault.exit_code)
    except (Unavailable, TooLate) as fault:
        _fail(f"{fault}\nis the mesh up? see `feedmesh status`", EXIT_UNAVAILABLE)
    except BadRequest as fault:
        _fail(str(fault), EXIT_USAGE)
    except FeedmeshError as fault:
        _fail(f"{type(fault).__name__}: {fault}", EXIT_FAULT)


def _interrupted(*_: int | FrameType | None) -> None:
    raise Interrupted("interrupted")


def _fail(text: str, code: int) -> NoReturn:
    Console(stderr=True).print(
        f"feedmesh: {text}", style="red", markup=False, highlight=False, soft_wrap=True
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
