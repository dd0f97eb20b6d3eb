"""Where the processes of a local mesh listen and which shards they serve, as one shard map in a data folder.

Owns `<data-dir>/shards.json`. The map is made at the first `feedmesh up` and kept: stores hold the shards
that the map gave their process, so a later `up` with other numbers is refused instead of losing them.

    <data-dir>/
      shards.json              the shard map, also how clients find the mesh
      log.json                 which log it writes and follows (`log_settings.py`)
      prometheus-targets.json  where metrics are, in the form of Prometheus' file_sd
      run/                     supervisor's files
      log/<process>.log        what each process writes
      <process>/               its store
      models/                  models for Scorpion
      graphs/                  graphs for Pixie
      factors/                 item factors for Scorpion and training
      experiments.toml         experiments of the FeedGenerator, written by people
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Self

from ephemeral_port_reserve import reserve

from services.chassis.errors import ConfigFaults
from services.chassis.shards.map import ShardMap
from services.cli.faults import UsageFault
from services.cli.mesh.log_settings import LogSettings, settle

SERVICES: Final = (
    "ingest",
    "apiary",
    "polaris",
    "aperture",
    "realpin",
    "counter",
    "rockstore",
    "scorpion",
    "pixie",
    "feedgen",
)
"""In the order in which they start; they stop the other way round."""

UNSHARDED: Final = frozenset({"ingest", "pixie", "feedgen"})
"""Services whose shard map entry only says where they listen."""

ADDED_LATER: Final = ("pixie",)
"""Services that a mesh made before they were is given at its next `feedmesh up`. They store nothing, so no
shard of a store moves."""

FOLLOWING: Final = frozenset({"apiary", "polaris", "aperture", "realpin", "counter", "rockstore"})
"""Services that keep a view of the log."""

NUM_SHARDS: Final = 64
INGEST_HOSTS_MAX: Final = 16
"""Each has its own transaction open in Kafka; more of them only make transactions smaller."""
PORT_BASE: Final = 7000
_PLACES: Final = {name: (place + 1) % len(SERVICES) for place, name in enumerate(SERVICES)}
"""A service's first host listens at the first port plus this: the front door at 7000, Ingest at 7001 …"""
_SECOND_HOSTS_AHEAD: Final = 20
"""Where the ports of second and further hosts begin."""
_METRICS_AHEAD: Final = 100
"""A process's metrics port is its port plus this, when ports are not chosen by the system."""
PLACEMENT: Final = "local_a"
"""Placement label of every process: one machine, one zone."""
_MAP_NAME: Final = "shards.json"
_TARGETS_NAME: Final = "prometheus-targets.json"


@dataclass(frozen=True)
class Process:
    """One process of the mesh."""

    name: str
    """The service, with a number when it has several hosts: `polaris`, `polaris-2`."""
    service: str
    address: str
    metrics_address: str
    shards: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """All processes of a local mesh."""

    data_dir: Path
    processes: tuple[Process, ...]

    @cached_property
    def log(self) -> LogSettings:
        """Which log it is. Read when it is asked for: `feedmesh down` must work without Kafka's certificates.

        Raises UsageFault when it cannot be read.
        """
        return LogSettings.read(self.data_dir)

    @property
    def map_path(self) -> Path:
        """The shard map that every process and client reads."""
        return self.data_dir / _MAP_NAME

    @property
    def run_dir(self) -> Path:
        """The supervisor's files."""
        return self.data_dir / "run"

    @property
    def models_dir(self) -> Path:
        """Model versions, written by `feedmesh train`, watched by Scorpion."""
        return self.data_dir / "models"

    @property
    def factors_dir(self) -> Path:
        """Item factors, written by `feedmesh factors build`, read by Scorpion and by training."""
        return self.data_dir / "factors"

    @property
    def graphs_dir(self) -> Path:
        """Graph versions, written by `feedmesh pixie build`, watched by Pixie."""
        return self.data_dir / "graphs"

    @property
    def experiments_path(self) -> Path:
        """Experiments of the FeedGenerator, who watches the file; written by people."""
        return self.data_dir / "experiments.toml"

    def feature_log_dir(self, process: Process) -> Path:
        """What was served, with its features, as one Scorpion logged it; read by `feedmesh train`."""
        return self.data_dir / process.name / "feature_log"

    def log_path(self, process: Process) -> Path:
        """What the process writes."""
        return self.data_dir / "log" / f"{process.name}.log"

    def addresses(self, service: str) -> list[str]:
        """Where the hosts of a service listen."""
        return [process.address for process in self.processes if process.service == service]

    @classmethod
    def open(cls, data_dir: Path) -> Self:
        """The layout of a mesh that was made before.

        Raises:
            UsageFault: the folder holds no mesh, or its map cannot be read.
        """
        path = data_dir / _MAP_NAME
        if not path.exists():
            raise UsageFault(
                f"{data_dir} holds no mesh (no {_MAP_NAME}); start one with "
                f"`feedmesh up --data-dir {data_dir}`, or name the right folder with --data-dir"
            )
        try:
            shard_map = ShardMap.parse(path.read_text())
            processes = _read(shard_map, _read_targets(data_dir / _TARGETS_NAME))
        except (ConfigFaults, OSError, ValueError, KeyError, TypeError) as fault:
            raise UsageFault(f"{data_dir} is not a folder of `feedmesh up`: {fault}") from fault
        return cls(data_dir, tuple(processes))

    @classmethod
    def create(
        cls, data_dir: Path, *, ports: int | None, hosts: Mapping[str, int], log: LogSettings | None = None
    ) -> Self:
        """A new layout, written to the folder. `ports`: the first port, or None for ports from the system.

        Raises:
            UsageFault: unknown services, or host counts that cannot be served.
        """
        log = log or LogSettings()
        _check_hosts(hosts, log)
        processes = tuple(_processes(ports, hosts))
        data_dir.mkdir(parents=True, exist_ok=True)
        log.write(data_dir)
        return cls._written(data_dir, processes)

    @classmethod
    def open_or_create(
        cls, data_dir: Path, *, ports: int | None, hosts: Mapping[str, int], log: LogSettings | None = None
    ) -> Self:
        """The layout that is there, when it fits what is asked for; otherwise a new one. `log`: None for the
        one that the folder keeps.

        Raises:
            UsageFault: the folder's mesh has other host counts than are asked for, or another log.
        """
        if not (data_dir / _MAP_NAME).exists():
            return cls.create(data_dir, ports=ports, hosts=hosts, log=log)
        layout = cls.open(data_dir)._completed()
        settled = settle(layout.log, log, data_dir=data_dir)
        _check_hosts({"ingest": len(layout.addresses("ingest"))}, settled)
        for service, count in hosts.items():
            there = len(layout.addresses(service))
            if there != count:
                raise UsageFault(
                    f"{data_dir} was made with {there} {service} host(s), not {count}: its stores hold the "
                    "shards of that layout; use another --data-dir, or leave --hosts away"
                )
        if settled == layout.log:
            return layout
        settled.write(data_dir)
        return cls(data_dir, layout.processes)

    def _completed(self) -> Self:
        """With the services that were not there when it was made; written to the folder, if there are any."""
        missing = [service for service in ADDED_LATER if not self.addresses(service)]
        if not missing:
            return self
        ports = self._first_port()
        added = [process for process in _processes(ports, {}) if process.service in missing]
        processes = sorted((*self.processes, *added), key=lambda process: SERVICES.index(process.service))
        return self._written(self.data_dir, tuple(processes))

    def _first_port(self) -> int | None:
        """The first port that the layout was made with; None when its ports are from the system."""
        places = {
            int(process.address.rpartition(":")[2]) - _PLACES[process.service]
            for process in self.processes
            if process.name == process.service
        }
        return places.pop() if len(places) == 1 else None

    @classmethod
    def _written(cls, data_dir: Path, processes: tuple[Process, ...]) -> Self:
        # The map last: a folder with a map is a whole layout.
        _write(data_dir / _TARGETS_NAME, _targets_of(processes))
        _write(data_dir / _MAP_NAME, _map_of(processes))
        return cls(data_dir, processes)


def _check_hosts(hosts: Mapping[str, int], log: LogSettings) -> None:
    for service, count in hosts.items():
        if service not in SERVICES:
            raise UsageFault(f"unknown service {service!r} in --hosts; one of {', '.join(SERVICES)}")
        most = _hosts_max(service, log)
        if not 1 <= count <= most:
            bounds = "1" if most == 1 else f"1 to {most}"
            why = ""
            if service == "ingest" and log.kind == "embedded":
                why = "; several can write only a log in Kafka: --log kafka"
            raise UsageFault(f"--hosts {service}={count}: must be {bounds}{why}")


def _hosts_max(service: str, log: LogSettings) -> int:
    if service == "ingest" and log.kind == "kafka":
        return INGEST_HOSTS_MAX
    return 1 if service in UNSHARDED else NUM_SHARDS


def _processes(ports: int | None, hosts: Mapping[str, int]) -> list[Process]:
    processes: list[Process] = []
    further = 0
    for service in SERVICES:
        count = hosts.get(service, 1)
        for index in range(count):
            place = _PLACES[service] if index == 0 else _SECOND_HOSTS_AHEAD + further
            further += index > 0
            processes.append(
                Process(
                    name=service if index == 0 else f"{service}-{index + 1}",
                    service=service,
                    address=f"127.0.0.1:{_port(ports, place)}",
                    metrics_address=f"127.0.0.1:{_port(ports, place + _METRICS_AHEAD)}",
                    # Hosts of an unsharded service are replicas: any of them will do.
                    shards=(0,) if service in UNSHARDED else tuple(range(index, NUM_SHARDS, count)),
                )
            )
    return processes


def _port(ports: int | None, place: int) -> int:
    return ports + place if ports is not None else int(reserve())


def _map_of(processes: tuple[Process, ...]) -> dict[str, Any]:
    shard_map: dict[str, Any] = {}
    for process in processes:
        segment = shard_map.setdefault(
            process.service, {"num_shards": 1 if process.service in UNSHARDED else NUM_SHARDS}
        )
        segment[f"{process.address}:{PLACEMENT}"] = [f"{shard:05d}" for shard in process.shards]
    return shard_map


def _targets_of(processes: tuple[Process, ...]) -> list[dict[str, Any]]:
    return [
        {
            "targets": [process.metrics_address],
            "labels": {"service": process.service, "process": process.name, "grpc": process.address},
        }
        for process in processes
    ]


def _read_targets(path: Path) -> dict[str, tuple[str, str]]:
    """Process name and metrics address by gRPC address."""
    return {
        target["labels"]["grpc"]: (target["labels"]["process"], target["targets"][0])
        for target in json.loads(path.read_text())
    }


def _read(shard_map: ShardMap, metrics: Mapping[str, tuple[str, str]]) -> list[Process]:
    processes = []
    for service in SERVICES:
        if service in ADDED_LATER and service not in shard_map.segments:
            continue
        for host in shard_map.segments[service].hosts:
            name, metrics_address = metrics[host.address]
            processes.append(Process(name, service, host.address, metrics_address, host.shards))
    return processes


def _write(path: Path, document: object) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document, indent=1) + "\n")
    fresh.replace(path)
