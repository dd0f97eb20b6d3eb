"""`feedmesh up` and `feedmesh down`: the whole mesh on this machine.

Owns what the person sees while processes start and drain: a live table on a terminal, one line a change
elsewhere. Next: `mesh/supervisor.py`, `mesh/readiness.py`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Final, Literal, Self

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.cli.faults import CliFault, Interrupted, UsageFault
from services.cli.log.opening import asked_log, check_brokers
from services.cli.mesh.layout import PORT_BASE, SERVICES, Layout
from services.cli.mesh.log_settings import LogSettings, settle
from services.cli.mesh.readiness import Readiness, Watcher
from services.cli.mesh.supervisor import Supervisor
from services.cli.options import DEFAULT_DATA_DIR, Bootstrap, DataDir, KafkaFile, config_dir

READY_S_MAX: Final = 300
"""First starts compile kernels, some 40 s of processor time; later ones take a few seconds."""
DRAIN_S_MAX: Final = 60
ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a mesh in the foreground."""
_COLOURS: Final = {"ready": "green", "starting": "yellow", "failing": "red", "down": "red"}


def up(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    only: Annotated[
        str, typer.Option(help="Start only these services, separated by commas.", metavar="A,B")
    ] = "",
    ports: Annotated[
        str, typer.Option(help="First port, or `auto` for ports from the system. Kept in the data folder.")
    ] = str(PORT_BASE),
    hosts: Annotated[
        list[str] | None,
        typer.Option(help="Hosts of a service, e.g. polaris=2: its shards are shared out.", metavar="S=N"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Folder with <service>.toml files, instead of the shipped ones.")
    ] = None,
    log: Annotated[
        Literal["embedded", "kafka"] | None,
        typer.Option(
            help="Where the log is. Kept in the data folder; at first: embedded.", show_default=False
        ),
    ] = None,
    bootstrap: Bootstrap = "",
    kafka: KafkaFile = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when all are ready; stop later with `feedmesh down`.")
    ] = False,
) -> None:
    """Start every process of the mesh on this machine, and stay until Ctrl-C."""
    first_port, counts = _ports(ports), _hosts(hosts or [])
    kept = LogSettings.read(data_dir)
    asked = asked_log(log, bootstrap=bootstrap, kafka=kafka, kept=kept)
    settled = settle(kept, asked, data_dir=data_dir)
    if settled.kind == "kafka":
        # Before anything is kept: brokers that were misspelled must not be.
        check_brokers(settled)
    layout = Layout.open_or_create(data_dir, ports=first_port, hosts=counts, log=settled)
    with running_mesh(layout, services=_services(only), config=config or config_dir(), keep=detach) as mesh:
        console = Console()
        seconds = mesh.wait_until_ready(console)
        console.print(
            f"[green]ready[/] in {seconds:.1f} s  ·  FeedGenerator at {layout.addresses('feedgen')[0]}  ·  "
            f"logs in {data_dir / 'log'}"
        )
        if detach:
            console.print(f"stop it with: feedmesh down --data-dir {data_dir}")
            return
        console.print("Ctrl-C drains and stops it")
        mesh.stay()
        console.print("draining …")


def down(data_dir: DataDir = DEFAULT_DATA_DIR) -> None:
    """Drain and stop a mesh that `feedmesh up` started."""
    layout = Layout.open(data_dir)
    supervisor = Supervisor(layout, config_dir=config_dir())
    if not supervisor.running():
        Console().print(f"no mesh of {data_dir} is running")
        return
    supervisor.stop(timeout_s=DRAIN_S_MAX)
    Console().print("stopped")


class RunningMesh:
    """A mesh whose supervisor runs."""

    def __init__(self, layout: Layout, supervisor: Supervisor, services: Sequence[str]) -> None:
        self._processes = [process for process in layout.processes if process.service in services]
        self._layout = layout
        self._supervisor = supervisor
        self._interrupted = threading.Event()

    def interrupt(self, *_: int | FrameType | None) -> None:
        """Ctrl-C or SIGTERM: stop waiting."""
        self._interrupted.set()

    def look(self, watcher: Watcher) -> list[Readiness]:
        """Everybody, now."""
        return watcher.look(self._supervisor.states())

    def wait_until_ready(self, console: Console) -> float:
        """Show who is ready until all are; the seconds that it took.

        Raises:
            CliFault: somebody was not ready in time; the text has the end of their logs.
        """
        began = time.monotonic()
        watcher = Watcher(self._processes)
        show = _LiveTable(console) if console.is_terminal else _Lines(console)
        try:
            with show:
                while True:
                    seen = self.look(watcher)
                    show.update(seen)
                    if all(one.ready for one in seen):
                        return time.monotonic() - began
                    if self._interrupted.is_set():
                        raise Interrupted("interrupted before all were ready")
                    if time.monotonic() - began > READY_S_MAX:
                        raise CliFault(self._not_ready(seen))
                    time.sleep(0.1)
        finally:
            watcher.close()

    def stay(self) -> None:
        """Wait until Ctrl-C or SIGTERM."""
        self._interrupted.wait()

    def _not_ready(self, seen: Sequence[Readiness]) -> str:
        lines = [f"not ready after {READY_S_MAX} s:"]
        for one in seen:
            if not one.ready:
                log = self._layout.log_path(one.process)
                said = log.read_text(errors="replace").splitlines()[-3:] if log.exists() else []
                lines += [
                    f"  {one.process.name}: {one.word}; the end of {log}:",
                    *(f"    {line}" for line in said),
                ]
        return "\n".join(lines)


@contextmanager
def running_mesh(
    layout: Layout,
    *,
    services: Sequence[str] = SERVICES,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    keep: bool = False,
) -> Iterator[RunningMesh]:
    """A mesh that runs while inside; drained afterwards, unless `keep` is set and nothing went wrong."""
    supervisor = Supervisor(layout, config_dir=config or config_dir())
    mesh = RunningMesh(layout, supervisor, services)
    # SIGHUP too: a mesh must not outlive the terminal that it was started from.
    old = {number: signal.getsignal(number) for number in ENDINGS}
    on_main = threading.current_thread() is threading.main_thread()
    supervisor.start(services, environment or {})
    stop = True
    try:
        if on_main:
            for number in old:
                signal.signal(number, mesh.interrupt)
        yield mesh
        stop = not keep
    finally:
        if stop:
            supervisor.stop(timeout_s=DRAIN_S_MAX)
        if on_main:
            for number, handler in old.items():
                signal.signal(number, handler)


class _LiveTable:
    """On a terminal: one table that changes in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=10)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def update(self, seen: Sequence[Readiness]) -> None:
        self._live.update(readiness_table(seen))


class _Lines:
    """In a file or a pipe: one line for each process, when it is ready."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""

    def update(self, seen: Sequence[Readiness]) -> None:
        for one in seen:
            if one.ready and one.process.name not in self._told:
                self._told.add(one.process.name)
                self._console.print(f"{one.process.name} ready at {one.process.address}")


def readiness_table(seen: Sequence[Readiness]) -> Table:
    """Who is ready, for people."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("process", "state", "address", "metrics", "pid", "up"):
        table.add_column(column, justify="right" if column in {"pid", "up"} else "left")
    for one in seen:
        supervised = one.supervised
        table.add_row(
            one.process.name,
            f"[{_COLOURS.get(one.word, 'yellow')}]{one.word}[/]",
            one.process.address,
            f"http://{one.process.metrics_address}/metrics",
            str(supervised.pid) if supervised and supervised.pid else "–",
            f"{supervised.uptime_s} s" if supervised and supervised.pid else "–",
        )
    return table


def _ports(text: str) -> int | None:
    if text == "auto":
        return None
    if text.isdecimal() and 1 <= int(text) <= 65_000:
        return int(text)
    raise UsageFault(f"--ports {text}: must be a port number or `auto`")


def _hosts(pairs: Sequence[str]) -> dict[str, int]:
    hosts = {}
    for pair in pairs:
        service, _, count = pair.partition("=")
        if not count.isdecimal():
            raise UsageFault(f"--hosts {pair}: must be SERVICE=COUNT, for example polaris=2")
        hosts[service] = int(count)
    return hosts


def _services(only: str) -> tuple[str, ...]:
    if not only:
        return SERVICES
    wanted = {name.strip() for name in only.split(",") if name.strip()}
    unknown = sorted(wanted - set(SERVICES))
    if unknown:
        raise UsageFault(f"--only {', '.join(unknown)}: no such service; one of {', '.join(SERVICES)}")
    return tuple(name for name in SERVICES if name in wanted)
