"""Claims about a mesh's folder: ports stay where they were, a folder of an earlier version is completed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.cli.faults import UsageFault
from services.cli.mesh.layout import SERVICES, UNSHARDED, Layout


def without(folder: Path, service: str) -> None:
    """The folder as it was before there was this service."""
    path = folder / "shards.json"
    document = json.loads(path.read_text())
    del document[service]
    path.write_text(json.dumps(document))
    path = folder / "prometheus-targets.json"
    targets = [one for one in json.loads(path.read_text()) if one["labels"]["service"] != service]
    path.write_text(json.dumps(targets))


def ports_of(layout: Layout) -> dict[str, int]:
    return {process.name: int(process.address.rpartition(":")[2]) for process in layout.processes}


def test_first_hosts_listen_where_they_always_did(tmp_path: Path) -> None:
    layout = Layout.create(tmp_path, ports=7000, hosts={})
    assert ports_of(layout) == {
        "feedgen": 7000, "ingest": 7001, "apiary": 7002, "polaris": 7003, "aperture": 7004, "realpin": 7005,
        "counter": 7006, "rockstore": 7007, "scorpion": 7008, "pixie": 7009,
    }  # fmt: skip
    assert {process.metrics_address.rpartition(":")[2] for process in layout.processes} == {
        str(port + 100) for port in ports_of(layout).values()
    }


@pytest.mark.parametrize("ports", [7400, None], ids=["ports in a row", "ports from the system"])
def test_folder_made_before_pixie_opens_and_is_given_one_at_the_next_start(
    tmp_path: Path, ports: int | None
) -> None:
    whole = Layout.create(tmp_path, ports=ports, hosts={"polaris": 2})
    before = ports_of(whole)
    shards = {process.name: process.shards for process in whole.processes}
    without(tmp_path, "pixie")
    opened = Layout.open(tmp_path)
    assert {process.service for process in opened.processes} == set(SERVICES) - {"pixie"}
    assert opened.addresses("pixie") == []

    started = Layout.open_or_create(tmp_path, ports=7000, hosts={})
    after = ports_of(started)
    added = after.pop("pixie")
    assert after == {name: port for name, port in before.items() if name != "pixie"}
    assert {process.name: process.shards for process in started.processes} == shards
    assert added == 7409 if ports else added not in after.values()
    assert Layout.open(tmp_path).processes == started.processes
    assert [process.service for process in started.processes if process.name == process.service] == list(
        SERVICES
    )


def test_folder_without_a_service_that_stores_is_none_of_ours(tmp_path: Path) -> None:
    Layout.create(tmp_path, ports=None, hosts={})
    without(tmp_path, "polaris")
    with pytest.raises(UsageFault, match="polaris"):
        Layout.open(tmp_path)


def test_pixie_is_one_host_of_everything(tmp_path: Path) -> None:
    assert "pixie" in UNSHARDED
    (pixie,) = [one for one in Layout.create(tmp_path, ports=None, hosts={}).processes if one.name == "pixie"]
    assert pixie.shards == (0,)
