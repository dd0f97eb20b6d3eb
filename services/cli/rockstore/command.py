"""The commands of `feedmesh rockstore`."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from feedmesh.rockstore.v1 import rockstore_pb2
from feedmesh.type.v1 import type_pb2
from services.chassis.ids import ShardScheme
from services.cli.connection import GET_SCHEMA, Connection
from services.cli.faults import UsageFault
from services.cli.mesh.layout import Layout
from services.cli.options import DEFAULT_DATA_DIR, DataDir
from services.cli.rockstore.hosts import RockstoreHosts
from services.cli.rockstore.row_files import RowFile
from services.cli.rockstore.versions_table import live_text, versions_tables
from services.rockstore.loads.prepared import LoadManifest
from services.rockstore.loads.preparing import LoadSpec, prepare
from services.rockstore.schema import Kind, Schema

_LOADS: Final = "loads"
_TIMEOUT_S: Final = 10.0

rockstore_app = typer.Typer(
    name="rockstore",
    help="Whole loads of feature rows: swap one in, see which is live, go back.",
    no_args_is_help=True,
)


class KindName(StrEnum):
    """Kinds as they are typed."""

    PIN = "pin"
    BOARD = "board"
    USER = "user"
    INTEREST = "interest"

    @property
    def number(self) -> type_pb2.ObjectKind.ValueType:
        """Its number in messages."""
        return type_pb2.ObjectKind.Value(f"OBJECT_KIND_{self.name}")


KindOption = Annotated[KindName, typer.Option("--kind", help="What the rows are of.")]


@rockstore_app.command()
def load(
    path: Annotated[
        Path, typer.Argument(help="Rows: .parquet, .csv or .npz; or a folder that --prepare made.")
    ],
    kind: KindOption = KindName.PIN,
    schema_version: Annotated[
        int, typer.Option(help="Schema version of the rows; 0: the newest that is declared.", min=0)
    ] = 0,
    version: Annotated[
        int,
        typer.Option(
            help="Version of the rows, usually the time that they are of, in milliseconds since 1970: a row "
            "written one by one with this version or a higher one goes before the loaded one. 0: the time at "
            "which the file was last changed.",
            min=0,
        ),
    ] = 0,
    ttl_s: Annotated[
        int, typer.Option("--ttl-seconds", help="The rows are gone after this time. 0: they stay.", min=0)
    ] = 0,
    prepare_to: Annotated[
        Path | None,
        typer.Option(
            "--prepare", help="Only make the load, as a new folder; swap nothing.", metavar="FOLDER"
        ),
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Swap in the rows of a file as one, in place of all rows of the load before.

    The file is checked and made into a load first, then staged on every host, then made live: reads see all
    of it or none. Rows that the load does not have, and newer ones, are still those that were written one by
    one. The hosts read the load from this machine's disk, below the data folder. `rollback` undoes it.
    """
    console = Console()
    with Connection(Layout.open(data_dir)) as connection:
        hosts = RockstoreHosts(connection)
        with _prepared(connection, hosts, path, kind, (schema_version, version, ttl_s), prepare_to) as folder:
            manifest = LoadManifest.read(folder)
            if prepare_to is not None:
                console.print(f"{folder}: {manifest.row_count:,} rows prepared; nothing is swapped")
                return
            began = time.monotonic()
            with _bar(console) as bar:
                task = bar.add_task("staging", total=None)
                numbers = hosts.stage(
                    folder,
                    lambda host, done, total: bar.update(
                        task, description=f"staging on {host}", completed=done, total=total
                    ),
                )
            number = type_pb2.ObjectKind.Value(f"OBJECT_KIND_{Kind(manifest.kind).name}")
            hosts.activate(number, numbers)
    console.print(
        f"{manifest.row_count:,} {Kind(manifest.kind).name.lower()} rows are live, as generation "
        f"{', '.join(str(one) for one in sorted(set(numbers.values())))}; staged in "
        f"{time.monotonic() - began:.1f} s"
    )


@rockstore_app.command()
def versions(kind: KindOption = KindName.PIN, data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """The loads that every host holds, and which of them is live."""
    with Connection(Layout.open(data_dir)) as connection:
        for table in versions_tables(RockstoreHosts(connection).list(kind.number)):
            Console().print(table)


@rockstore_app.command()
def rollback(
    kind: KindOption = KindName.PIN,
    to: Annotated[
        int | None,
        typer.Option(
            help="A generation of `versions`; 0: no loaded rows at all. Left away: the one before.",
            min=0,
            metavar="GENERATION",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Make the load before live again, on every host. Nothing is removed: --to leads forward again."""
    with Connection(Layout.open(data_dir)) as connection:
        for host, generations in RockstoreHosts(connection).roll_back(kind.number, to).items():
            Console().print(f"{host}: {live_text(generations)}", highlight=False, soft_wrap=True)


@contextmanager
def _prepared(
    connection: Connection,
    hosts: RockstoreHosts,
    path: Path,
    kind: KindName,
    numbers: tuple[int, int, int],
    prepare_to: Path | None,
) -> Iterator[Path]:
    """The folder of the load: the one that is given, the one that is wanted, or one for the time being."""
    if path.is_dir():
        yield path
        return
    if prepare_to is not None and prepare_to.exists():
        raise UsageFault(f"{prepare_to} is there already; name a new folder")
    schema_version, version, ttl_s = numbers
    now_ms = time.time_ns() // 1_000_000
    sharding = hosts.sharding(kind.number)
    schema = _schema(connection, kind, schema_version)
    rows = RowFile(path, schema)
    spec = LoadSpec(
        schema=schema,
        # Not the present: what was written one by one since the rows were made is newer than they are.
        version=version or max(1, path.stat().st_mtime_ns // 1_000_000),
        gone_ms=now_ms + ttl_s * 1000 if ttl_s else 0,
        num_shards=sharding.num_shards,
        shard_scheme=ShardScheme(sharding.scheme),
        made_ms=now_ms,
    )
    loads = connection.layout.data_dir / _LOADS
    loads.mkdir(exist_ok=True)
    folder = prepare_to or Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=loads)) / "load"
    try:
        _prepare(rows, folder, spec)
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        if prepare_to is None:
            shutil.rmtree(folder.parent, ignore_errors=True)


def _prepare(rows: RowFile, folder: Path, spec: LoadSpec) -> None:
    with _bar(Console()) as bar:
        reading = bar.add_task("checking rows", total=rows.row_count)
        writing = bar.add_task("writing files", total=rows.row_count)

        def spilled(count: int) -> None:
            bar.advance(reading, count)

        def written(count: int) -> None:
            if not bar.tasks[writing].completed:
                # Every row is read by now: also a file that did not say how many it has, has.
                bar.update(writing, total=bar.tasks[reading].completed)
            bar.advance(writing, count)

        prepare(rows.batches(), folder, spec, spilled=spilled, written=written)


def _schema(connection: Connection, kind: KindName, version: int) -> Schema:
    """The schema as the hosts have it declared. Raises NotFound."""
    request = rockstore_pb2.GetSchemaRequest(kind=kind.number, schema_version=version)
    told = connection.router.call_one("rockstore", 1, GET_SCHEMA, request, _TIMEOUT_S)
    return Schema(
        kind=Kind[kind.name],
        version=told.schema_version,
        features=tuple(told.features),
        defaults=tuple(told.defaults),
        id_columns=tuple(told.id_columns),
    )


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
