"""A mesh of real processes for tests: started, killed, frozen and always cleaned up.

Owns the processes that it started, and ends exactly those, by pid, also when a test failed: the supervisor is
frozen first, so that it starts nobody again, then its children are killed, then itself. When the test process
itself is killed, a guard beside it sees its pipe close, and tells the supervisor to stop. Everything else is
the mesh of `feedmesh up`: the same layout, supervisor and configuration. Next: `views.py`, `events.py`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from services.chassis.log.kafka.config import KafkaConnection
from services.cli.connection import Connection
from services.cli.mesh.layout import SERVICES, Layout, Process
from services.cli.mesh.log_settings import LogSettings
from services.cli.mesh.readiness import Watcher
from services.cli.mesh.supervisor import Supervisor
from services.cli.options import config_dir
from services.scorpion.feature_file import load_feature_list
from services.scorpion.training import TrainingOptions, promote, train, write_model
from tests.pixie.graphs import random_edges, write_graph
from tests.scorpion.synthetic import synthetic

READY_S_MAX: Final = 150.0
"""A first start compiles kernels, on a machine that runs other tests."""
MODEL: Final = "small"

SMALL: Final = {
    "FEEDMESH_SCORPION__CACHE_BYTES": "8000000",
    # What a model ranks by must be visible a moment later, not after the ten seconds of the default.
    "FEEDMESH_SCORPION__MODELS_SCAN_MS": "500",
}
"""Told to every process: several meshes share a small machine."""


KAFKA_BROKERS: Final = "FEEDMESH_TEST_MESH_KAFKA"
"""Names brokers when the meshes of this run are to have their logs in Kafka."""


def log_of_this_run() -> LogSettings:
    """The embedded log, or a new one in Kafka when the run was started for that."""
    bootstrap = os.environ.get(KAFKA_BROKERS, "")
    return log_in_kafka(bootstrap) if bootstrap else LogSettings()


def log_in_kafka(bootstrap: str) -> LogSettings:
    """A new log on these brokers, under a prefix of its own."""
    prefix = f"mesh-{uuid.uuid4().hex[:8]}."
    return LogSettings("kafka", KafkaConnection(bootstrap=bootstrap, topic_prefix=prefix))


class LiveMesh:
    """One mesh in a folder of its own."""

    def __init__(
        self,
        folder: Path,
        *,
        hosts: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        log: LogSettings | None = None,
    ) -> None:
        self.layout = Layout.create(folder, ports=None, hosts=hosts or {}, log=log or log_of_this_run())
        self._supervisor = Supervisor(self.layout, config_dir=config_dir())
        self._environment = {**SMALL, **(environment or {})}
        self._watcher = Watcher(self.layout.processes)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.connection = Connection(self.layout)
        """For the test's own thread; other threads make theirs by `connect`."""

    def start(self) -> None:
        """Start every process and wait until all are ready."""
        write_small_model(self.models_dir, MODEL)
        promote(self.models_dir, MODEL)
        # Ids from 1 on, which the meshes' own events never have.
        write_graph(self.layout.graphs_dir, random_edges(50, 20, 300, seed=1))
        self._daemon = self._supervisor.start(SERVICES, self._environment)
        self._guard = _guard(self._daemon.pid)
        self.wait_ready()

    @property
    def models_dir(self) -> Path:
        """Where Scorpion looks for models."""
        return self.layout.data_dir / "models"

    @property
    def names(self) -> list[str]:
        """Every process."""
        return [process.name for process in self.layout.processes]

    def process(self, name: str) -> Process:
        """One process by name."""
        return next(process for process in self.layout.processes if process.name == name)

    def connect(self) -> Connection:
        """A connection for another thread."""
        return Connection(self.layout)

    def pid(self, name: str) -> int:
        """The process's id now; 0 while it is down."""
        return {state.name: state.pid for state in self._supervisor.states()}.get(name, 0)

    def exit_code(self, name: str) -> int:
        """How the process ended last; -1 by a signal."""
        return {state.name: state.exit_code for state in self._supervisor.states()}[name]

    def said(self, name: str) -> str:
        """What the process has written."""
        return self.layout.log_path(self.process(name)).read_text(errors="replace")

    def ready(self, *names: str) -> bool:
        """Whether these processes (or all) serve now."""
        wanted = set(names or self.names)
        looks = self._watcher.look(self._supervisor.states(), timeout_s=1.0)
        return all(look.ready for look in looks if look.process.name in wanted)

    def wait_ready(self, *names: str, timeout_s: float = READY_S_MAX) -> None:
        """Wait until these processes (or all) serve."""
        until = time.monotonic() + timeout_s
        while not self.ready(*names):
            if time.monotonic() > until:
                looks = self._watcher.look(self._supervisor.states(), timeout_s=1.0)
                late = [look.process.name for look in looks if not look.ready]
                ends = "\n".join(f"--- {name}\n{self.said(name)[-1500:]}" for name in late)
                raise AssertionError(f"not ready after {timeout_s:.0f} s: {late}\n{ends}")
            time.sleep(0.05)

    def kill(self, name: str) -> int:
        """kill -9; the supervisor starts it again. Returns the id that was killed."""
        pid = self.pid(name)
        assert pid, f"{name} is not running"
        os.kill(pid, signal.SIGKILL)
        return pid

    def wait_restarted(self, name: str, old_pid: int, *, timeout_s: float = READY_S_MAX) -> None:
        """Wait until another process than `old_pid` serves as `name`."""
        until = time.monotonic() + timeout_s
        while self.pid(name) in (0, old_pid):
            assert time.monotonic() < until, f"{name} was not started again"
            time.sleep(0.02)
        self.wait_ready(name, timeout_s=timeout_s)

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """While inside, the process holds its sockets and answers nothing."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
        self.wait_ready(name)

    def stop(self, name: str) -> None:
        """SIGTERM, and wait for the end; the supervisor leaves it so."""
        self._supervisor.stop_process(name)

    def stop_all(self) -> None:
        """SIGTERM to every process at once, and wait for their ends."""
        with ThreadPoolExecutor(len(self.names)) as pool:
            list(pool.map(self.stop, self.names))

    def start_again(self, name: str, *, wait: bool = True) -> None:
        """Start a process that was stopped."""
        self._supervisor.start_process(name)
        if wait:
            self.wait_ready(name)

    @contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """While inside, the process is not there."""
        self.stop(name)
        try:
            yield
        finally:
            self._supervisor.start_process(name)
        self.wait_ready(name)

    def close(self) -> None:
        """End every process that this mesh started."""
        self.connection.channels.close()
        self._watcher.close()
        daemon = self._daemon
        if daemon is None:
            return
        self._daemon = None
        guard, self._guard = self._guard, None
        if guard is not None:
            # Before the supervisor, whose id might be somebody else's a moment after its end.
            guard.kill()
            guard.communicate()
        if daemon.poll() is not None:
            return
        os.kill(daemon.pid, signal.SIGSTOP)
        for pid in _children(daemon.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # It wakes to a SIGTERM: it starts nobody again, and takes its dead children off the process table.
        os.kill(daemon.pid, signal.SIGTERM)
        os.kill(daemon.pid, signal.SIGCONT)
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.wait(10)


@contextmanager
def live_mesh(
    folder: Path,
    *,
    hosts: Mapping[str, int] | None = None,
    environment: Mapping[str, str] | None = None,
    log: LogSettings | None = None,
) -> Iterator[LiveMesh]:
    """A mesh that serves while inside, and leaves no process behind."""
    mesh = LiveMesh(folder, hosts=hosts, environment=environment, log=log)
    try:
        mesh.start()
        yield mesh
    finally:
        mesh.close()


def write_small_model(models_dir: Path, name: str, *, seed: int = 3) -> None:
    """A real model of a few trees, which ranks by a pin's quality."""
    features = load_feature_list(config_dir() / "features.toml")
    options = TrainingOptions(tree_count=10, leaves=5, sample_rows=16, threads=1)
    model = train(features, synthetic(features, sessions=40, seed=seed), options)
    write_model(models_dir, name, model.text, model.card, model.sample)


def _guard(pid: int) -> subprocess.Popen[bytes]:
    """Sends SIGTERM to `pid` when this process ends without having killed the guard, however it ends."""
    return subprocess.Popen(
        ["/bin/sh", "-c", 'cat > /dev/null; kill -TERM "$0"', str(pid)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def _children(pid: int) -> list[int]:
    """Children of a process that is frozen, so that none is added while we look."""
    children: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text().split()]
    return children
