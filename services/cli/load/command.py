"""The command `feedmesh load`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from feedmesh.type.v1 import type_pb2
from services.cli.connection import Connection
from services.cli.load.files import files_of
from services.cli.load.interests import KeywordInterests
from services.cli.load.loader import check, check_names, load
from services.cli.load.rows import RowReader
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir


def load_command(
    paths: Annotated[list[Path], typer.Argument(help="JSONL and CSV files, or folders of them.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    check_only: Annotated[
        bool, typer.Option("--check", help="Only check the files; publish nothing.")
    ] = False,
    interest_keywords: Annotated[
        Path | None,
        typer.Option(
            help="CSV file (keyword, interest, weight): pins whose texts have a keyword get its interest.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Load users, boards, interests, follows, pins, saves and actions from files.

    Every file is checked before anything is published. Interrupted, the same command goes on where it
    stopped. docs/loading.md has an example of each row.
    """
    console = Console()
    files = files_of(paths)
    keywords = KeywordInterests(()) if interest_keywords is None else KeywordInterests.open(interest_keywords)
    with Connection(Layout.open(data_dir)) as connection, _bar(console) as bar:
        schema = connection.schema(type_pb2.OBJECT_KIND_PIN)
        reader = RowReader(pin_schema=schema, now_ms=time.time_ns() // 1_000_000, keywords=keywords)
        task = bar.add_task("checking", total=None)
        counts = check(files, reader, lambda rows: bar.advance(task, rows))
        check_names(connection, reader)
        bar.remove_task(task)
        if check_only:
            console.print(f"{sum(counts.values()):,} rows are fine; nothing was published")
            return
        for path, row_count in counts.items():
            task = bar.add_task(path.name, total=row_count)
            loaded = load(connection, path, reader, lambda rows, task=task: bar.advance(task, rows))  # type: ignore[misc]
            bar.remove_task(task)
            before = f", {loaded.skipped_count:,} were there before" if loaded.skipped_count else ""
            console.print(f"{path}: {loaded.row_count:,} rows loaded{before}")


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
