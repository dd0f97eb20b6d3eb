"""Every knob and limit of Scorpion."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.process import ProcessConfig


@dataclass(frozen=True, config=CONFIG)
class ScorpionConfig:
    """The whole configuration of one Scorpion process."""

    process: ProcessConfig = field(default_factory=ProcessConfig)
    """Addresses, threads, directories."""

    features_path: Path = Path("deploy/config/features.toml")
    """The declared list of features; training must be given the same file."""

    models_dir: Path = Path("feedmesh-models")
    """Directory of model versions and of the pointer `serving`; made when absent, and watched."""

    models_max: int = Field(default=8, ge=1, le=1_000)
    """Models that are kept loaded: the serving one, and the last by name."""

    models_scan_ms: int = Field(default=10_000, ge=100)
    """Look at the directory at least this often, for file systems that do not tell of changes."""

    forest_threads: int = Field(default=1, ge=1, le=256)
    """Threads that LightGBM scores one request with; more than 1 helps only while the machine idles."""

    cache_bytes: int = Field(default=256 << 20, ge=0)
    """Memory of the cache of pin rows, its index included; 0: nothing is kept."""

    cache_ttl_ms: int = Field(default=10_000, ge=0)
    """A row and its counts are served this long before they are fetched again: how stale a count may be."""

    fetch_share: float = Field(default=0.6, gt=0, lt=1)
    """Share of the time left which Rockstore and Counter have to answer; the rest is kept to score."""

    fetch_ms_max: int = Field(default=200, ge=1)
    """Longest wait for the stores, however much time is left."""

    candidates_max: int = Field(default=5_000, ge=1, le=5_000)
    """Candidates of one Score."""

    signals_max: int = Field(default=64, ge=0)
    """Signals of one Score."""

    signal_ids_max: int = Field(default=10_000, ge=0)
    """Ids of one signal."""
