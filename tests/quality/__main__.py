"""`python -m tests.quality [NAME …] [--held-out NAME=FILE]`: quality on real data, through the services.

Ends with 1 when a figure is below what the project demands, with 2 when data is not there.
docs/quality.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from tests.quality.data_files import NoData
from tests.quality.report import publish

MEASURES: Final = ("citeulike", "pinterest", "yelp")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.quality", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"one or more of {', '.join(MEASURES)}; all when left away")
    parser.add_argument(
        "--held-out",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=FILE",
        help="measure what is held out in a file (.npz), instead of drawing it",
    )
    arguments = parser.parse_args()
    held_out = dict(arguments.held_out)
    unknown = sorted({*arguments.names, *held_out} - set(MEASURES))
    if unknown:
        parser.error(f"no measure {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    console, said = Console(), Console(stderr=True, soft_wrap=True, highlight=False)
    short = []
    for name in arguments.names or MEASURES:
        began = time.monotonic()
        try:
            rows, notes = importlib.import_module(f"tests.quality.{name}").run(console, held_out.get(name))
        except NoData as fault:
            said.print(str(fault), markup=False)
            return 2
        publish(name, rows, [*notes, f"measured in {time.monotonic() - began:.0f} s"], console)
        short += [f"{name}: {row.name}, {row.unit}" for row in rows if row.falls_short]
    for one in short:
        said.print(f"below what is demanded: {one}", markup=False)
    return 1 if short else 0


def _pair(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=FILE, of a file that is there")
    return name, Path(path)


if __name__ == "__main__":
    raise SystemExit(main())
