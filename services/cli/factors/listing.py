"""Which versions of item factors there are, and which the feature list names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from services.chassis.errors import FeedmeshError
from services.scorpion.factors.files import NAME, Manifest, versions_of
from services.scorpion.features import FeatureList, Source


@dataclass(frozen=True, slots=True)
class Listed:
    """A version in its folder, or one that the list names and that is not there."""

    name: str
    version: str
    manifest: Manifest | None
    fault: str
    """Why it cannot be used; empty: its manifest is in order."""
    read_by: tuple[str, ...]
    """Features that name it."""


def listed(directory: Path, features: FeatureList) -> list[Listed]:
    """By name and version. Manifests are read, files are not."""
    readers: dict[tuple[str, str], list[str]] = {}
    for feature in features.features:
        if feature.source is Source.FACTORS:
            readers.setdefault((feature.of, feature.version), []).append(feature.name)
    names = sorted(entry.name for entry in directory.iterdir()) if directory.is_dir() else []
    there = [
        (name, version) for name in names if NAME.fullmatch(name) for version in versions_of(directory, name)
    ]
    return [_listed(directory, *one, readers.get(one, [])) for one in sorted({*there, *readers})]


def list_table(versions: Sequence[Listed]) -> Table:
    """For people; what cannot be used is red, with the reason."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("factors", "version", "pins", "numbers", "built", "from", "read by"):
        table.add_column(column, justify="right" if column in ("pins", "numbers") else "left")
    for one in versions:
        if one.manifest is None:
            table.add_row(one.name, one.version, "", "", "", one.fault, ", ".join(one.read_by), style="red")
            continue
        built = datetime.fromtimestamp(one.manifest.built_ms / 1000, UTC)
        table.add_row(
            one.name,
            one.version,
            f"{one.manifest.pin_count:,}",
            f"{one.manifest.dim} {one.manifest.precision}",
            f"{built:%Y-%m-%d %H:%M}",
            one.manifest.source,
            ", ".join(one.read_by),
        )
    return table


def _listed(directory: Path, name: str, version: str, read_by: Sequence[str]) -> Listed:
    try:
        manifest = Manifest.read(directory / name / version)
    except FeedmeshError as fault:
        return Listed(name, version, None, fault.message, tuple(read_by))
    return Listed(name, version, manifest, "", tuple(read_by))
