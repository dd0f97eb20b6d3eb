"""Apache Kafka itself: its jars, by Maven, fetched once into a folder of their own.

The folder is `$FEEDMESH_KAFKA_DIR`, or `build/kafka/<version>` in the checkout. What is made there is renamed
into place whole, so that a kill leaves nothing half there; `only_one_at_a_time` keeps processes off each
other's work. `why_kafka_is_not_here` says what a machine lacks. Next: `prepared.py`.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

VERSION: Final = "4.2.0"
JAVA_MIN: Final = 17
FETCH_S_MAX: Final = 600.0
"""A minute on an empty Maven cache, a few seconds on a full one."""

_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_ARTIFACTS: Final = (
    ("org.apache.kafka", "kafka_2.13", VERSION),
    ("org.apache.kafka", "kafka-tools", VERSION),
    # Kafka's logging API is slf4j 1.7, which finds no binding of the 2.x line.
    ("org.slf4j", "slf4j-simple", "1.7.36"),
)


def why_kafka_is_not_here() -> str:
    """What this machine lacks to run Kafka, in words; empty if it lacks nothing."""
    if shutil.which("java") is None:
        return f"Kafka needs java, {JAVA_MIN} or later"
    version = _java_version()
    if version < JAVA_MIN:
        return f"Kafka needs java {JAVA_MIN} or later, not {version}"
    if not _libs().is_dir() and shutil.which("mvn") is None:
        return f"Kafka's jars are not in {kafka_dir()}, and mvn, which would fetch them, is not here"
    return ""


def kafka_dir() -> Path:
    """Where everything that is kept between runs lives."""
    return Path(os.environ.get("FEEDMESH_KAFKA_DIR") or _CHECKOUT / "build/kafka" / VERSION).absolute()


@contextmanager
def only_one_at_a_time() -> Iterator[Path]:
    """`kafka_dir()`, which nobody else changes meanwhile; a process that dies lets go. Not re-entrant."""
    folder = kafka_dir()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def fetched() -> list[Path]:
    """Every jar, in an order that is the same each time; fetches them if they are not here yet.

    Call it inside `only_one_at_a_time`. Raises RuntimeError with Maven's words; blocks up to `FETCH_S_MAX`.
    """
    if not _libs().is_dir():
        _fetch()
    return sorted(_libs().glob("*.jar"))


def _libs() -> Path:
    return kafka_dir() / "libs"


def _fetch() -> None:
    """Maven copies into a sibling; the rename is the moment at which the jars are here."""
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=kafka_dir()) as name:
        folder = Path(name)
        (folder / "pom.xml").write_text(_pom())
        command = ["mvn", "-B", "-q", "dependency:copy-dependencies", "-DoutputDirectory=libs"]
        maven = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=FETCH_S_MAX, check=False
        )
        if maven.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed:\n{(maven.stdout + maven.stderr)[-3000:]}")
        (folder / "libs").rename(_libs())


def _pom() -> str:
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{version}</version></dependency>"
        for group, artifact, version in _ARTIFACTS
    )
    return (
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>feedmesh</groupId><artifactId>kafka-for-tests</artifactId><version>1</version>"
        f"<packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )


def _java_version() -> int:
    """The feature release; 1 for Java 8 and older, which call themselves 1.8; 0 if it does not say."""
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found.group(1)) if found else 0
