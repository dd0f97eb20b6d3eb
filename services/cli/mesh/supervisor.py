"""The processes of a local mesh under supervisord: started, restarted when they die, drained in order.

Owns supervisord's configuration and the talk with it over its Unix socket. Supervision itself (restarts with
back-off, log rotation, ordered stop) is supervisord's. In production the same processes run under Kubernetes
or systemd, and this file is not used. Next: `readiness.py`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xmlrpc.client import Error as XmlRpcError
from xmlrpc.client import ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from services.cli.faults import CliFault, UsageFault
from services.cli.mesh.layout import FOLLOWING, PLACEMENT, SERVICES, Layout, Process

_STOP_WAIT_S: Final = 20
"""Longer than a process's own drain, so that a kill means that draining failed."""

_CONF: Final = """\
[unix_http_server]
file={socket}
chmod=0600

[supervisord]
logfile={run_dir}/supervisord.log
logfile_maxbytes=1MB
logfile_backups=1
pidfile={run_dir}/supervisord.pid
childlogdir={run_dir}
nodaemon=true
silent=true

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""

_PROGRAM: Final = """
[program:{name}]
command={python} -m services.{service} --config {config}
environment={environment}
directory={directory}
priority={priority}
autorestart=true
startsecs=1
startretries=1000
stopsignal=TERM
stopwaitsecs={stop_wait_s}
stdout_logfile={log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=1
redirect_stderr=true
"""


@dataclass(frozen=True)
class ProcessState:
    """What the supervisor says of a process."""

    name: str
    state: str
    """supervisord's word: STARTING, RUNNING, BACKOFF, STOPPING, STOPPED, EXITED, FATAL."""
    pid: int
    """0 when it is not running."""
    uptime_s: int
    exit_code: int
    """Of the last end: -1 when a signal ended it, 0 also when it never ended."""


class Supervisor:
    """supervisord of one data folder."""

    def __init__(self, layout: Layout, *, config_dir: Path) -> None:
        self._layout = layout
        self._config_dir = config_dir
        # A Unix socket's path has at most 107 bytes, and data folders may lie deep.
        digest = hashlib.sha256(str(layout.data_dir.resolve()).encode()).hexdigest()[:16]
        self._daemon: subprocess.Popen[bytes] | None = None
        self._socket = Path(tempfile.gettempdir()) / f"feedmesh-{os.getuid()}-{digest}.sock"

    def running(self) -> bool:
        """Whether a supervisor of this folder answers."""
        try:
            self._rpc().supervisor.getState()
        except (OSError, XmlRpcError):
            return False
        return True

    def start(self, services: Iterable[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start supervisord and, through it, the processes of these services.

        Raises:
            UsageFault: a mesh of this folder is running already.
            CliFault: supervisord did not come up.
        """
        if self.running():
            raise UsageFault(
                f"a mesh of {self._layout.data_dir} is running already; see `feedmesh status`, "
                "stop it with `feedmesh down`"
            )
        self._layout.run_dir.mkdir(parents=True, exist_ok=True)
        (self._layout.data_dir / "log").mkdir(exist_ok=True)
        if not self._layout.experiments_path.exists():
            self._layout.experiments_path.write_text(_NO_EXPERIMENTS)
        conf = self._layout.run_dir / "supervisord.conf"
        conf.write_text(self._conf(set(services), environment))
        out = (self._layout.run_dir / "supervisord.out").open("wb")
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(conf)]
        # A session of its own: Ctrl-C in the terminal must reach `feedmesh up` alone, which then drains.
        with out:
            daemon = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
        self._daemon = daemon
        try:
            self._wait_until_it_answers(daemon)
        except BaseException:
            # Nobody would stop it later: the caller has no mesh to stop.
            daemon.terminate()
            raise
        return daemon

    def states(self) -> list[ProcessState]:
        """All processes, as supervisord sees them; empty when it does not answer."""
        try:
            infos: Any = self._rpc().supervisor.getAllProcessInfo()
        except (OSError, XmlRpcError):
            return []
        return [
            ProcessState(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"],
                uptime_s=max(info["now"] - info["start"], 0) if info["pid"] else 0,
                exit_code=info["exitstatus"],
            )
            for info in infos
        ]

    def stop_process(self, name: str) -> None:
        """Drain and stop one process, and leave it stopped; blocks. Raises CliFault."""
        self._ask("stopProcess", name)

    def start_process(self, name: str) -> None:
        """Start one process that was stopped; it is not ready yet. Raises CliFault."""
        self._ask("startProcess", name, False)

    def _ask(self, method: str, *arguments: str | bool) -> None:
        try:
            getattr(self._rpc().supervisor, method)(*arguments)
        except (OSError, XmlRpcError) as fault:
            raise CliFault(f"supervisord could not {method} {arguments[0]}: {fault}") from fault

    def stop(self, *, timeout_s: float) -> None:
        """Drain and stop every process, the FeedGenerator first, then supervisord itself.

        Raises:
            CliFault: it is still there after `timeout_s`.
        """
        try:
            self._rpc().supervisor.shutdown()
        except (OSError, XmlRpcError):
            return
        # It stops answering before it has ended, and holds its socket until then: wait for the process.
        until = time.monotonic() + timeout_s
        while self._alive():
            if time.monotonic() > until:
                raise CliFault(
                    f"the mesh is still stopping after {timeout_s:.0f} s; see {self._layout.run_dir}"
                )
            time.sleep(0.05)

    def _alive(self) -> bool:
        if self._daemon is not None:
            # A child of ours stays in the process table until it is waited for.
            return self._daemon.poll() is None
        try:
            os.kill(int((self._layout.run_dir / "supervisord.pid").read_text()), 0)
        except (OSError, ValueError):
            return False
        return True

    def _rpc(self) -> ServerProxy:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        return ServerProxy("http://127.0.0.1", transport=transport)

    def _conf(self, services: set[str], environment: Mapping[str, str]) -> str:
        conf = _CONF.format(socket=self._socket, run_dir=self._layout.run_dir.resolve())
        for process in self._layout.processes:
            if process.service in services:
                conf += self._program(process, environment)
        return conf

    def _program(self, process: Process, environment: Mapping[str, str]) -> str:
        told = {
            **process_environment(self._layout, process, config_dir=self._config_dir),
            **environment,
        }
        return _PROGRAM.format(
            name=process.name,
            service=process.service,
            python=sys.executable,
            config=(self._config_dir / f"{process.service}.toml").resolve(),
            environment=",".join(f'{key}="{_escaped(value)}"' for key, value in told.items()),
            directory=Path.cwd(),
            # Stopped the other way round: the FeedGenerator first, the log last.
            priority=100 + SERVICES.index(process.service),
            stop_wait_s=_STOP_WAIT_S,
            log=self._layout.log_path(process).resolve(),
        )

    def _wait_until_it_answers(self, daemon: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + 10
        while not self.running():
            if daemon.poll() is not None or time.monotonic() > until:
                said = (self._layout.run_dir / "supervisord.out").read_text(errors="replace").strip()
                raise CliFault(f"supervisord did not come up: {said or 'it said nothing'}")
            time.sleep(0.02)


_NO_EXPERIMENTS: Final = """\
# Experiments of the FeedGenerator: docs/experiments.md. A change applies to the next request; what is refused
# is in the FeedGenerator's log, and `feedmesh experiments check experiments.toml` says it before.
"""


def process_environment(layout: Layout, process: Process, *, config_dir: Path) -> dict[str, str]:
    """What a process of this layout is told beyond its config file."""
    service = f"FEEDMESH_{process.service.upper()}__"
    prefix = f"{service}PROCESS__"
    own = {}
    if process.service in FOLLOWING:
        own[f"{service}FOLLOWER__LOG"] = layout.addresses("ingest")[0]
    if process.service in FOLLOWING or process.service == "ingest":
        own |= layout.log.environment(process.service, writes=process.service == "ingest")
    if process.service == "scorpion":
        own[f"{service}FEATURES_PATH"] = str((config_dir / "features.toml").resolve())
        own[f"{service}MODELS_DIR"] = str((layout.models_dir).resolve())
        own[f"{service}FACTORS_DIR"] = str((layout.factors_dir).resolve())
        own[f"{service}FEATURE_LOG__DIRECTORY"] = str((layout.feature_log_dir(process)).resolve())
    if process.service == "feedgen":
        own[f"{service}EXPERIMENTS_PATH"] = str(layout.experiments_path.resolve())
        if (config_dir / "recipes").is_dir():
            own[f"{service}RECIPES_DIR"] = str((config_dir / "recipes").resolve())
    if process.service == "pixie":
        own[f"{service}GRAPHS_DIR"] = str(layout.graphs_dir.resolve())
    return {
        **own,
        f"{prefix}LISTEN": process.address,
        f"{prefix}METRICS_LISTEN": process.metrics_address,
        f"{prefix}PLACEMENT": PLACEMENT,
        f"{prefix}SHARD_MAP": str(layout.map_path.resolve()),
        f"{prefix}DATA_DIR": str((layout.data_dir / process.name).resolve()),
        # Ten processes on a few cores: no pool of threads for matrix products in each, few malloc arenas.
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def _escaped(value: str) -> str:
    return value.replace("%", "%%").replace('"', '\\"')
