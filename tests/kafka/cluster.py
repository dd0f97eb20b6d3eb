"""A cluster of real Kafka brokers for tests and benchmarks: started, killed, frozen and always ended.

Each of its 1 or 3 processes is broker and controller, on 127.0.0.1, .2 and .3. It ends exactly the processes
that it started, by id; when the test process itself is killed, a guard beside it kills them. Data survives
`kill` and `start_node`, and goes with the folder, which is the caller's. `python -m tests.kafka.cluster`
keeps a cluster up for a person, or for several test runs. Next: `prepared.py`, `questions.py`, `guard.py`.
"""

from __future__ import annotations

import argparse
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ephemeral_port_reserve import reserve

from tests.kafka.guard import Guard
from tests.kafka.prepared import Prepared, format_data, kafka_uuid, prepare, write_properties
from tests.kafka.questions import create_topic, view_of

START_S_MAX: Final = 90.0
"""Three brokers answer after 3 s on two idle cores; other tests run beside them."""
POLL_S: Final = 0.05
LOG_TAIL_CHARS: Final = 2_000


class KafkaCluster:
    """Brokers 1 to `nodes` in a folder of their own; a context manager that starts and stops them.

    `broker_session_timeout_ms` is how long the controller waits for a broker that died; publishers to its
    partitions pause for as long. `settings` are broker properties that win over those here. `listeners` are
    further ones: security protocol by name; the harness itself, and the brokers among each other, speak
    plaintext. Every method blocks: a coroutine calls them by `asyncio.to_thread`. One thread at a time starts
    and ends brokers.
    """

    def __init__(
        self,
        folder: Path,
        *,
        nodes: int = 3,
        broker_session_timeout_ms: int = 9_000,
        settings: Mapping[str, str] | None = None,
        listeners: Mapping[str, str] | None = None,
    ) -> None:
        assert nodes in (1, 3), "a quorum of 2 is worse than one of 1"
        self.nodes: Final = tuple(range(1, nodes + 1))
        self._folder = folder.absolute()
        self._session_timeout_ms = broker_session_timeout_ms
        self._settings = dict(settings or {})
        self._listeners = dict(listeners or {})
        self._kafka: Prepared | None = None
        self._addresses: dict[int, str] = {}
        self._further: dict[int, dict[str, str]] = {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._guard: Guard | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every broker, wait until all answer and topics can be made; after `stop`, on the old data.

        The first start on a machine prepares Kafka, which may take a minute or two.
        """
        assert self._guard is None, "the cluster was started already"
        if self._kafka is None:
            self._kafka = prepare()
            self._lay_out(self._kafka)
        self._guard = Guard()
        for node in self.nodes:
            self.start_node(node)
        self._wait("topics can be made", self._why_no_topics, START_S_MAX)

    def stop(self) -> None:
        """End every process that this cluster started; also those that are frozen."""
        for node in self.nodes:
            self.kill(node)
        guard, self._guard = self._guard, None
        if guard is not None:
            guard.close()

    @property
    def bootstrap(self) -> str:
        """Every broker's address, comma-separated, as clients take it."""
        return ",".join(self._addresses[node] for node in self.nodes)

    def address(self, node: int) -> str:
        """One broker's `host:port`; the same over its restarts."""
        return self._addresses[node]

    def listener(self, node: int, name: str) -> str:
        """The `host:port` of one of the further listeners."""
        return self._further[node][name]

    @property
    def pids(self) -> dict[int, int]:
        """Process id by broker, of those that run."""
        return {node: self._processes[node].pid for node in self.nodes if self.runs(node)}

    def runs(self, node: int) -> bool:
        """Whether the broker's process is there, frozen or not."""
        process = self._processes.get(node)
        return process is not None and process.poll() is None

    def said(self, node: int) -> str:
        """What the broker has written, over all its starts."""
        path = self._node_folder(node) / "broker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start_node(self, node: int) -> None:
        """Start a broker that does not run, on its old data; does not wait for it.

        After a kill it answers only when the session of its former life is over, up to
        `broker_session_timeout_ms` and some 2 s more: until then the controller refuses its registration.
        """
        assert self._kafka is not None and self._guard is not None, "the cluster was not started"
        assert not self.runs(node), f"broker {node} runs"
        folder = self._node_folder(node)
        command = self._kafka.java(
            f"-Djava.io.tmpdir={folder / 'tmp'}", "kafka.Kafka", str(folder / "server.properties")
        )
        self._processes[node] = self._guard.start(command, cwd=folder, log=folder / "broker.log")

    def kill(self, node: int) -> None:
        """SIGKILL, and wait until the process is gone; nothing if it does not run."""
        process = self._processes.pop(node, None)
        if process is None or self._guard is None:
            return
        process.kill()
        # Before `wait`, after which the id may be somebody else's.
        self._guard.forget(process.pid)
        process.wait(20)

    def freeze(self, node: int) -> None:
        """SIGSTOP: the broker holds its connections and answers nothing, until `thaw`."""
        pid = self.pids[node]
        os.kill(pid, signal.SIGSTOP)
        # On a busy machine its threads may run, and answer, for a quarter of a second more.
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self, node: int) -> None:
        """SIGCONT: the broker goes on, with what it believed when it was frozen."""
        os.kill(self.pids[node], signal.SIGCONT)

    @contextmanager
    def frozen(self, node: int) -> Iterator[None]:
        """While inside, the broker is frozen."""
        self.freeze(node)
        try:
            yield
        finally:
            self.thaw(node)

    def wait_up(self, node: int, *, timeout_s: float = START_S_MAX) -> None:
        """Wait until the broker answers and counts itself in; its replicas may still be behind."""
        self._wait(f"broker {node} is up", lambda: self._why_not_up(node), timeout_s)

    def wait_whole(self, timeout_s: float = START_S_MAX) -> None:
        """Wait until every broker sees all brokers, and every partition led and with all replicas in sync."""
        self._wait("the cluster is whole", self._why_not_whole, timeout_s)

    def create_topic(
        self,
        name: str,
        *,
        partitions: int = 1,
        replication: int | None = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        """Make a topic, on every broker unless told; wait until each broker that runs knows its leaders."""
        replication = replication or len(self.nodes)
        asked = next(iter(self.pids))
        fault = create_topic(
            self.address(asked), name, partitions=partitions, replication=replication, config=config or {}
        )
        assert not fault, f"topic {name}: {fault}"
        self._wait(f"topic {name} is there", lambda: self._why_no_topic(name, partitions), START_S_MAX)

    # Why not yet: each says what is missing, or nothing.

    def _why_no_topics(self) -> str:
        for node in self.nodes:
            fault = create_topic(
                self.address(node),
                "may-i",
                partitions=1,
                replication=len(self.nodes),
                config={},
                validate_only=True,
            )
            if fault:
                return f"broker {node}: {fault}"
        return ""

    def _why_no_topic(self, name: str, count: int) -> str:
        for node in self.pids:
            parts = [part for part in view_of(self.address(node)).partitions if part.topic == name]
            led = sum(part.leader >= 0 for part in parts)
            if led < count:
                return f"broker {node} knows {led} leaders of {count} partitions"
        return ""

    def _why_not_up(self, node: int) -> str:
        return "" if node in view_of(self.address(node)).nodes else "it does not count itself in"

    def _why_not_whole(self) -> str:
        for node in self.nodes:
            view = view_of(self.address(node))
            if view.nodes != frozenset(self.nodes):
                return f"broker {node} sees brokers {sorted(view.nodes)}"
            behind = [part for part in view.partitions if not part.whole]
            if behind:
                return f"broker {node} sees {len(behind)} partitions behind, the first: {behind[0]}"
        return ""

    def _wait(self, what: str, why_not: Callable[[], str], timeout_s: float) -> None:
        """Poll until `why_not` is empty; a broker that does not answer is a reason, one that ended fails."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                reason = why_not()
            except OSError as error:
                reason = f"no answer: {error!r}"
            if not reason:
                return
            ended = [node for node, process in self._processes.items() if process.poll() is not None]
            if ended or time.monotonic() > until:
                break
            time.sleep(POLL_S)
        ends = "\n".join(f"--- broker {node}\n{self.said(node)[-LOG_TAIL_CHARS:]}" for node in self.nodes)
        state = f"brokers {ended} have ended" if ended else f"{timeout_s:.0f} s are over"
        raise AssertionError(f"waiting until {what}: {state}; {reason}\n{ends}")

    def _node_folder(self, node: int) -> Path:
        return self._folder / f"broker-{node}"

    def _lay_out(self, kafka: Prepared) -> None:
        """Addresses, properties and formatted log folders."""
        hosts = {node: f"127.0.0.{node}" for node in self.nodes}
        controllers = {node: f"{host}:{reserve(host)}" for node, host in hosts.items()}
        self._addresses = {node: f"{host}:{reserve(host)}" for node, host in hosts.items()}
        self._further = {
            node: {name: f"{host}:{reserve(host)}" for name in self._listeners}
            for node, host in hosts.items()
        }
        cluster_id = kafka_uuid()
        for node in self.nodes:
            folder = self._node_folder(node)
            (folder / "tmp").mkdir(parents=True)
            (folder / "data").mkdir()
            write_properties(folder / "server.properties", self._properties(node, controllers))
            format_data(kafka, folder / "data", node=node, cluster_id=cluster_id)

    def _properties(self, node: int, controllers: Mapping[int, str]) -> dict[str, str]:
        replication = len(self.nodes)
        in_sync_min = (replication + 1) // 2
        listeners = {"PLAINTEXT": self._addresses[node], **self._further[node]}
        advertised = ",".join(f"{name}://{address}" for name, address in listeners.items())
        protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **self._listeners}
        return {
            "process.roles": "broker,controller",
            "node.id": str(node),
            "controller.quorum.voters": ",".join(f"{other}@{at}" for other, at in controllers.items()),
            "listeners": f"{advertised},CONTROLLER://{controllers[node]}",
            "advertised.listeners": advertised,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(
                f"{name}:{spoken}" for name, spoken in protocols.items()
            ),
            "log.dirs": str(self._node_folder(node) / "data"),
            "broker.session.timeout.ms": str(self._session_timeout_ms),
            # Kafka's own proportion of 2 s to 9 s: a broker may miss three beats, not four.
            "broker.heartbeat.interval.ms": str(max(100, self._session_timeout_ms * 2 // 9)),
            "auto.create.topics.enable": "false",
            "default.replication.factor": str(replication),
            "min.insync.replicas": str(in_sync_min),
            "offsets.topic.replication.factor": str(replication),
            "offsets.topic.num.partitions": "3",
            "transaction.state.log.replication.factor": str(replication),
            "transaction.state.log.min.isr": str(in_sync_min),
            "transaction.state.log.num.partitions": "3",
            "share.coordinator.state.topic.replication.factor": str(replication),
            "share.coordinator.state.topic.min.isr": str(in_sync_min),
            "share.coordinator.state.topic.num.partitions": "3",
            "group.initial.rebalance.delay.ms": "0",
            "num.network.threads": "2",
            "num.io.threads": "2",
            "log.cleaner.dedupe.buffer.size": str(16 << 20),
            # Index files have their full size from the begin, times hundreds of partitions. With an entry
            # every 4 KiB, 64 MiB of log need 128 KiB of offsets and 192 KiB of times.
            "log.segment.bytes": str(64 << 20),
            "log.index.size.max.bytes": str(256 << 10),
            **self._settings,
        }


def main(arguments: list[str] | None = None) -> None:
    """Keep a cluster: its bootstrap line, then silence until SIGTERM, Ctrl-C or the end of its stdin."""
    parser = argparse.ArgumentParser(prog="python -m tests.kafka.cluster", description=main.__doc__)
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=3)
    options = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with (
        tempfile.TemporaryDirectory(prefix="feedmesh-kafka-") as folder,
        KafkaCluster(Path(folder), nodes=options.nodes) as cluster,
    ):
        sys.stdout.write(cluster.bootstrap + "\n")
        sys.stdout.flush()
        _wait_for_the_end()


def _wait_for_the_end() -> None:
    """Until stdin closes, if it is a pipe; a shell's background gives /dev/null, which says nothing."""
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        sys.stdin.buffer.read()
    else:
        signal.pause()


if __name__ == "__main__":
    main()
