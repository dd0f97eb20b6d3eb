"""One building of item factors: read → learn → write, with what the person sees."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from services.chassis.errors import BadRequest
from services.cli.factors.learning import Options, learn
from services.cli.factors.pairs import Pairs, read_pairs
from services.cli.faults import UsageFault
from services.cli.train.progress import steps
from services.scorpion.factors.files import (
    DIM_MAX,
    NAME,
    VERSION,
    Manifest,
    Precision,
    write_factors,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Where a version is to lie, and as what."""

    directory: Path
    name: str
    version: str
    precision: Precision
    until_ms: int = 0
    """`Manifest.until_ms`; 0: nobody said."""


@dataclass(frozen=True, slots=True)
class Built:
    """What came of it."""

    folder: Path
    manifest: Manifest
    seconds: float


def new_version(now: datetime | None = None) -> str:
    """A version's name of this second."""
    return (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%S")


def build(source: Path, options: Options, wanted: Wanted, console: Console) -> Built:
    """Make a version; shows progress. Raises UsageFault on what cannot become one."""
    # Said before the work, not after it.
    _check(options, wanted)
    began_s = time.monotonic()
    with steps(console) as step:
        step("reading the pairs")
        pairs = read_pairs(source)
        _check_size(pairs, options)
        learned = replace(learn(pairs, options, step("learning")), until_ms=wanted.until_ms)
        step("writing")
        try:
            folder = write_factors(
                wanted.directory,
                wanted.name,
                wanted.version,
                learned,
                precision=wanted.precision,
                built_ms=time.time_ns() // 1_000_000,
            )
        except BadRequest as fault:
            raise UsageFault(fault.message) from fault
    return Built(folder, Manifest.read(folder), time.monotonic() - began_s)


def print_built(console: Console, built: Built) -> None:
    """What was made, and what to write into the feature list."""
    manifest = built.manifest
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column()
    size_bytes = sum(entry.size_bytes for entry in manifest.files.values())
    for name, value in (
        ("folder", str(built.folder)),
        (
            "from",
            f"{manifest.source}: {manifest.learned['boards']:,} boards, {manifest.learned['pairs']:,} pairs",
        ),
        ("pins", f"{manifest.pin_count:,} × {manifest.dim} {manifest.precision}, {size_bytes / 1e6:,.1f} MB"),
        ("learned", f"alpha {manifest.alpha:g}, λ {manifest.regularisation:.4g}"),
        ("took", f"{built.seconds:,.1f} s"),
    ):
        table.add_row(name, value)
    console.print(table, soft_wrap=True)
    console.print(
        "a feature that reads it, for deploy/config/features.toml (then restart Scorpion, and train):",
        highlight=False,
    )
    console.print(feature_text(manifest), markup=False, highlight=False)


def feature_text(manifest: Manifest) -> str:
    """The feature's declaration. Its name has the version: under the old one it would be another feature."""
    short = "".join(char if char.isalnum() else "_" for char in manifest.version.lower())
    return "\n".join(
        (
            "[[feature]]",
            f'name = "{manifest.name}_{short}"'[:72],
            f'source = "factors.{manifest.name}"',
            f'version = "{manifest.version}"',
            'signal = "recent_pins"',
        )
    )


def _check(options: Options, wanted: Wanted) -> None:
    if not NAME.fullmatch(wanted.name):
        raise UsageFault(f"--name {wanted.name!r} must be lower-case letters, digits and _, at most 64")
    if not VERSION.fullmatch(wanted.version):
        raise UsageFault(f"--version {wanted.version!r} must be letters, digits, _ . and -, at most 64")
    if (wanted.directory / wanted.name / wanted.version).exists():
        raise UsageFault(f"factors {wanted.name} {wanted.version} exist; give the new ones another --version")
    if not 1 <= options.dim <= DIM_MAX:
        raise UsageFault(f"--dim {options.dim} must be 1 to {DIM_MAX}")


def _check_size(pairs: Pairs, options: Options) -> None:
    smaller = min(pairs.board_count, pairs.pins.size)
    if options.dim > smaller:
        raise UsageFault(
            f"--dim {options.dim}: {smaller:,} boards or pins do not tell so many directions apart"
        )
