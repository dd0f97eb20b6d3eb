"""What `feedmesh pixie` prints: a graph that was built, the versions in a folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from services.cli.pixie.serving import Answering
from services.pixie.building.build import Built
from services.pixie.graph_files import BadGraph, Manifest, map_arrays, version_names

_MB: Final = 1 << 20
_PRUNED: Final = {
    "edges_read": "edges read",
    "edges_repeated": "of these, repeated",
    "edges_removed": "taken off again",
    "boards_too_small": "boards too small",
    "boards_too_large": "boards too large",
    "boards_too_diverse": "boards too diverse",
    "edges_of_boards_left_out": "edges of these boards",
    "edges_pruned_of_pins": "edges pruned of pins",
    "pins_left_out": "pins left without edges",
    "boards_left_out": "boards left out or without edges",
    "pins_with_attributes": "pins with attributes",
}
"""Counts of a manifest, as people read them."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a folder."""

    name: str
    manifest: Manifest | None
    """None when it cannot be read."""
    fault: str
    """Why it cannot be walked, as far as its files tell without being read; empty: nothing is known."""


def versions(graphs_dir: Path) -> list[Version]:
    """All of them, the newest first. Sizes of files are compared, not their contents."""
    return [_version(graphs_dir / name) for name in reversed(version_names(graphs_dir))]


def built_table(built: Built, *, took_s: float) -> Table:
    """What was built, what was left out, and what it costs."""
    manifest = built.manifest
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    rows: list[tuple[str, str]] = [
        (text, f"{manifest.counts[name]:,}")
        for name, text in _PRUNED.items()
        if manifest.counts.get(name) or name == "edges_read"
    ]
    per_edge = manifest.size_bytes / manifest.edge_count
    rows += [
        ("pins", f"{manifest.pin_count:,}"),
        ("boards", f"{manifest.board_count:,}"),
        ("edges", f"{manifest.edge_count:,}"),
        ("boards of a pin, at most", f"{manifest.pin_degree_max:,}"),
        ("pins of a board, at most", f"{manifest.board_degree_max:,}"),
        ("MB", f"{manifest.size_bytes / _MB:,.1f} ({per_edge:.1f} bytes an edge)"),
        ("seconds", f"{took_s:,.1f}"),
    ]
    if len(manifest.class_names) > 1:
        rows.insert(-2, (f"classes ({manifest.bias})", f"{len(manifest.class_names) - 1:,}"))
    for row in rows:
        table.add_row(*row)
    return table


def versions_table(found: Iterable[Version], told: Sequence[Answering]) -> Table:
    """One line for each version."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("version", no_wrap=True)
    for column in ("pins", "boards", "edges", "MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for column in ("source", "state"):
        table.add_column(column, overflow="fold")
    for version in found:
        table.add_row(version.name, *_cells(version.manifest), state_of(version, told))
    return table


def documents(found: Iterable[Version], told: Sequence[Answering]) -> Iterator[dict[str, Any]]:
    """The same for machines: the manifest without its files and names of classes, and the state."""
    for version in found:
        known = {} if version.manifest is None else asdict(version.manifest)
        for name in ("files", "class_names"):
            known.pop(name, None)
        size = {} if version.manifest is None else {"size_bytes": version.manifest.size_bytes}
        yield {**known, **size, "version": version.name, "state": state_of(version, told)}


def state_of(version: Version, told: Sequence[Answering]) -> str:
    """Whether it serves; where not, why, as far as anyone says."""
    serving = [one.process for one in told if one.version == version.name]
    if serving:
        return f"serves in {', '.join(serving)}"
    refused = [f"{one.process} refuses it: {one.refused}" for one in told if version.name in one.refused]
    if refused:
        return "; ".join(refused)
    return version.fault or "does not serve"


def _cells(manifest: Manifest | None) -> tuple[str, ...]:
    if manifest is None:
        return ("",) * 5
    return (
        f"{manifest.pin_count:,}",
        f"{manifest.board_count:,}",
        f"{manifest.edge_count:,}",
        f"{manifest.size_bytes / _MB:,.1f}",
        manifest.source,
    )


def _version(folder: Path) -> Version:
    manifest: Manifest | None = None
    try:
        manifest = Manifest.read(folder)
        map_arrays(folder, manifest)
    except BadGraph as fault:
        return Version(folder.name, manifest, f"no graph: {fault}")
    return Version(folder.name, manifest, "")
