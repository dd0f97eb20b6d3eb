"""What every broker of every cluster needs, made once and kept in `kafka_dir()`.

Beside the jars: the checkpoint that Kafka's StorageTool writes into each new log folder, so that no JVM is
started to format one; and an archive of loaded classes, with which three brokers start in two thirds of the
time and take a sixth less memory. Delete the folder to have all of it made again. Next: `cluster.py`.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ephemeral_port_reserve import reserve

from tests.kafka.guard import Guard
from tests.kafka.jars import fetched, only_one_at_a_time

ONE_JVM_S_MAX: Final = 60.0

_JAVA: Final = (
    "java",
    "-Xmx384m",
    # Three brokers share a small machine with the tests: the collector and the compiler that start fastest.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+IgnoreUnrecognizedVMOptions",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)
_STARTED: Final = "Kafka Server started"


@dataclass(frozen=True)
class Prepared:
    """Kafka, ready to be started."""

    class_path: str
    checkpoint: Path
    archive: Path

    def java(self, *words: str) -> list[str]:
        """A command. Without the archive, or with one of another JVM, it is slower and nothing else."""
        shared = [f"-XX:SharedArchiveFile={self.archive}"] if self.archive.exists() else []
        return [*_JAVA, *shared, "-cp", self.class_path, *words]


def prepare() -> Prepared:
    """Make what is not there yet; the first time blocks for as long as Maven takes, and some seconds."""
    with only_one_at_a_time() as kept:
        prepared = Prepared(
            class_path=":".join(str(jar) for jar in fetched()),
            checkpoint=kept / "bootstrap.checkpoint",
            archive=kept / "classes.jsa",
        )
        if not (prepared.checkpoint.exists() and prepared.archive.exists()):
            with tempfile.TemporaryDirectory(prefix="prepare-", dir=kept) as folder:
                _make(prepared, Path(folder))
    return prepared


def format_data(prepared: Prepared, data: Path, *, node: int, cluster_id: str) -> None:
    """Write what StorageTool would write into the empty folder `data`."""
    shutil.copyfile(prepared.checkpoint, data / prepared.checkpoint.name)
    identity = {"version": 1, "cluster.id": cluster_id, "node.id": node, "directory.id": kafka_uuid()}
    write_properties(data / "meta.properties", identity)


def write_properties(path: Path, values: Mapping[str, object]) -> None:
    """A Java properties file."""
    path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))


def kafka_uuid() -> str:
    """A random id as Kafka writes them. None begins with a dash, which its tools take for an option."""
    made = "-"
    while made.startswith("-"):
        made = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return made


def _make(prepared: Prepared, folder: Path) -> None:
    """Format a log folder for its checkpoint; let a broker start on it, and end in peace, for its classes."""
    prepared.archive.unlink(missing_ok=True)  # a JVM does not write one archive on top of another
    data, archive, properties = folder / "data", folder / "classes.jsa", folder / "server.properties"
    controller = f"127.0.0.1:{reserve()}"
    write_properties(
        properties,
        {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{reserve()},CONTROLLER://{controller}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": data,
        },
    )
    _run_storage_tool(prepared, properties)
    options = [f"-XX:ArchiveClassesAtExit={archive}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]
    command = prepared.java("kafka.Kafka", str(properties))
    _run_broker_once([command[0], *options, *command[1:]], folder)
    shutil.copyfile(data / prepared.checkpoint.name, folder / "checkpoint")
    (folder / "checkpoint").rename(prepared.checkpoint)
    if archive.exists():
        archive.rename(prepared.archive)


def _run_storage_tool(prepared: Prepared, properties: Path) -> None:
    tool = subprocess.run(
        prepared.java("kafka.tools.StorageTool", "format", "-t", kafka_uuid(), "-c", str(properties)),
        capture_output=True,
        text=True,
        timeout=ONE_JVM_S_MAX,
        check=False,
    )
    if tool.returncode != 0:
        raise RuntimeError(f"Kafka's StorageTool failed:\n{(tool.stdout + tool.stderr)[-3000:]}")


def _run_broker_once(command: list[str], folder: Path) -> None:
    """Start a broker, wait until it serves, end it by SIGTERM; killed if it takes too long."""
    log = folder / "broker.log"
    guard = Guard()
    try:
        broker = guard.start(command, cwd=folder, log=log)
        until = time.monotonic() + ONE_JVM_S_MAX
        while _STARTED not in log.read_text(errors="replace"):
            if broker.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"Kafka does not start:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)
        broker.send_signal(signal.SIGTERM)
        broker.wait(ONE_JVM_S_MAX)
        guard.forget(broker.pid)
    finally:
        guard.close()
