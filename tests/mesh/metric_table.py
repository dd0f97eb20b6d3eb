"""The table of all metrics, `docs/metrics.md`: made from the services' own registries, and read again.

    python -m tests.mesh.metric_table      writes docs/metrics.md anew

Owns the way from registries to the table and back. Every service is built in this process, in a folder that
is thrown away, and its registry described; the test then compares the table with what real processes expose.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import tempfile
import urllib.request
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from services.chassis.leaf import LeafProcess
from services.chassis.log.kafka.metrics import KafkaMetrics
from services.chassis.metrics import MetricFamily, describe, new_registry
from services.chassis.orchestrator import OrchestratorProcess
from services.cli.mesh.layout import FOLLOWING, SERVICES, UNSHARDED
from services.cli.options import config_dir

PATH: Final = Path(__file__).parents[2] / "docs" / "metrics.md"
_ACCEPT: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

EMBEDDED: Final = "embedded log"
KAFKA: Final = "log in Kafka"
_WORDS: Final = {"all": frozenset(SERVICES), "views": FOLLOWING}

_HEAD: Final = """\
# Metrics

Every process serves Prometheus metrics at its `process.metrics_listen`, under `/metrics`; `feedmesh up`
writes all addresses to `prometheus-targets.json` in its data folder, in the form of Prometheus' `file_sd`.
There is no sampling and no push. Durations are seconds, sizes are bytes, a name that ends in `_total` only
grows. Histograms add `_bucket`, `_sum` and `_count`; counters and histograms also tell when they began
(`_created`). Views are the services that follow the log: apiary, polaris, aperture, realpin, counter and
rockstore.

This table is made by `python -m tests.mesh.metric_table` from what the services register. A test compares it
with what real processes expose, both ways.

| metric | type | labels | services | meaning |
|---|---|---|---|---|
"""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    kind: str
    labels: tuple[str, ...]
    services: frozenset[str]
    meaning: str


def collect() -> list[Row]:
    """Every metric of every service, from their registries."""
    by_family: dict[MetricFamily, set[str]] = defaultdict(set)
    for service in SERVICES:
        for family in registered(service):
            by_family[family].add(service)
    in_kafka = set(describe_kafka_log())
    for family in in_kafka:
        by_family[family].add("ingest" if "ingest" in by_family[family] else f"ingest ({KAFKA})")
    for family, services in by_family.items():
        # What the log counts, and the log in Kafka does not.
        if family.name.startswith("feedmesh_log_") and family not in in_kafka:
            by_family[family] = {f"{service} ({EMBEDDED})" for service in services}
    rows = [
        Row(family.name, family.kind, family.labels, frozenset(services), family.help)
        for family, services in by_family.items()
    ]
    return sorted(rows, key=lambda row: (_place(row), row.name))


def describe_kafka_log() -> list[MetricFamily]:
    """What Ingest counts of a log in Kafka."""
    registry = new_registry()
    KafkaMetrics(registry)
    return describe(registry)


def registered(service: str) -> list[MetricFamily]:
    """The metrics of one service, built in a folder that is thrown away, without a log to follow."""
    module = importlib.import_module(f"services.{service}.__main__")
    registry = new_registry()
    with tempfile.TemporaryDirectory() as folder:
        config = _config(service, module, Path(folder))
        if service == "feedgen":
            asyncio.run(_describe_orchestrator(config, module.build, registry))
        else:
            leaf = LeafProcess(
                service,
                config,
                module.build,
                segment=None if service in UNSHARDED or service == "scorpion" else service,
                registry=registry,
            )
            try:
                leaf.start()
            finally:
                leaf.stop()
    return describe(registry)


def render(rows: list[Row]) -> str:
    """The page."""
    lines = [
        f"| `{row.name}` | {row.kind} | {', '.join(row.labels)} | {_services_word(row.services)} "
        f"| {row.meaning.replace('|', '/')} |\n"
        for row in rows
    ]
    return _HEAD + "".join(lines)


def parse(page: str) -> list[Row]:
    """The rows of the page's table."""
    rows = []
    for line in page.splitlines():
        found = re.fullmatch(r"\| `(\w+)` \| (\w+) \| ([\w, ]*) \| ([\w, ()]+) \| (.*) \|", line)
        if found:
            name, kind, labels, services, meaning = found.groups()
            rows.append(Row(name, kind, _words(labels), _services_of(services), meaning))
    return rows


def scrape(metrics_address: str) -> list[Metric]:
    """What a process exposes now."""
    request = urllib.request.Request(f"http://{metrics_address}/metrics", headers={"Accept": _ACCEPT})
    read: Any = text_string_to_metric_families
    with urllib.request.urlopen(request, timeout=10) as answer:
        return list(read(answer.read().decode()))


def _config(service: str, module: Any, folder: Path) -> Any:
    (config_class,) = {
        value
        for name, value in vars(module).items()
        if name.endswith("Config") and value.__module__ == f"services.{service}.config"
    }
    config = config_class()
    process = replace(
        config.process,
        listen="127.0.0.1:0",
        metrics_listen="",
        data_dir=folder / "data",
        catch_up_s_max=0.0,
        drain_linger_ms=0,
    )
    changes: dict[str, Any] = {"process": process}
    if service in FOLLOWING:
        changes["follower"] = replace(config.follower, log="127.0.0.1:1")
    if service == "scorpion":
        changes["models_dir"] = folder / "models"
        changes["features_path"] = config_dir() / "features.toml"
    if service == "pixie":
        changes["graphs_dir"] = folder / "graphs"
    return replace(config, **changes)


async def _describe_orchestrator(config: Any, build: Any, registry: Any) -> None:
    process = OrchestratorProcess("feedgen", config, build, registry=registry)
    try:
        await process.start()
    finally:
        await process.stop()


def _place(row: Row) -> tuple[int, str]:
    """What all have first, then what followers have, then each service's own in the mesh's order."""
    if len(row.services) == 1:
        (service,) = row.services
        return SERVICES.index(service.partition(" ")[0]) + 1, ""
    return 0, ("" if row.services == frozenset(SERVICES) else "followers")


def _services_word(services: frozenset[str]) -> str:
    for word, named in _WORDS.items():
        if services == named:
            return word
    return ", ".join(sorted(services, key=lambda service: SERVICES.index(service.partition(" ")[0])))


def _services_of(word: str) -> frozenset[str]:
    return _WORDS.get(word, frozenset(_words(word)))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


if __name__ == "__main__":
    PATH.write_text(render(collect()), encoding="utf-8")
