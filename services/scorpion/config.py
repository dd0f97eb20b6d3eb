"""Every knob and limit of Scorpion."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.process import ProcessConfig
from services.scorpion.feature_log import FeatureLogLimits


@dataclass(frozen=True, config=CONFIG)
class FeatureLogConfig:
    """The feature log. Which requests are logged is FeedGenerator's to say (`feature_log_share`)."""

    directory: Path = Path("feedmesh-data/scorpion/feature_log")
    """Where its Parquet files lie; made when the first row comes."""

    directory_bytes_max: int = Field(default=2 << 30, ge=1 << 20)
    """All files together; the oldest are removed."""

    disk_free_bytes_min: int = Field(default=1 << 30, ge=0)
    """With less room on the disk nothing is logged: the disk belongs to the stores first."""

    file_rows_max: int = Field(default=20_000, ge=100, le=1_000_000)
    """A file with so many rows is closed, and another one begun."""

    file_age_max_s: int = Field(default=600, ge=1)
    """A file is closed this long after it was begun."""

    flush_s: float = Field(default=5, gt=0)
    """Rows are on disk after so long: what a kill -9 loses."""

    queue_rows_max: int = Field(default=100_000, ge=100)
    """Rows that wait to be written; more are dropped and counted."""

    stash_bytes: int = Field(default=32 << 20, ge=1 << 16)
    """Features of requests that were scored and may yet be served."""

    stash_age_max_s: float = Field(default=30, gt=0)
    """How long they wait for word that they were."""

    def __post_init__(self) -> None:
        if self.file_rows_max > self.queue_rows_max:
            raise ValueError(
                f"file_rows_max is {self.file_rows_max}: a file's rows wait in the queue, which holds "
                f"queue_rows_max ({self.queue_rows_max})"
            )

    @property
    def limits(self) -> FeatureLogLimits:
        """The part that the log is given."""
        return FeatureLogLimits(
            queue_rows_max=self.queue_rows_max,
            file_rows_max=self.file_rows_max,
            file_age_max_s=self.file_age_max_s,
            flush_s=self.flush_s,
            directory_bytes_max=self.directory_bytes_max,
            disk_free_bytes_min=self.disk_free_bytes_min,
        )


@dataclass(frozen=True, config=CONFIG)
class ScorpionConfig:
    """The whole configuration of one Scorpion process."""

    process: ProcessConfig = field(default_factory=ProcessConfig)
    """Addresses, threads, directories."""

    features_path: Path = Path("deploy/config/features.toml")
    """The declared list of features; training must be given the same file."""

    factors_dir: Path = Path("feedmesh-factors")
    """Directory of item factors, by name and version, as `factors.*` features name them. What the list names
    must be there when the process starts; training must be given the same folder."""

    models_dir: Path = Path("feedmesh-models")
    """Directory of model versions and of the pointer `serving`; made when absent, and watched."""

    models_max: int = Field(default=8, ge=1, le=1_000)
    """Models that are kept loaded: the serving one, and the last by name."""

    models_scan_ms: int = Field(default=10_000, ge=100)
    """Look at the directory at least this often, for file systems that do not tell of changes."""

    forest_threads: int = Field(default=1, ge=1, le=256)
    """Without effect since the forest is scored by kernels of our own, in half a millisecond; kept so that
    files that set it still load."""

    cache_bytes: int = Field(default=256 << 20, ge=0)
    """Memory of the cache of pin rows, its index included; 0: nothing is kept."""

    other_cache_bytes: int = Field(default=32 << 20, ge=0)
    """The same for boards, for owners and for users, of each that the feature list reads."""

    cache_ttl_ms: int = Field(default=300_000, ge=0)
    """A row and its counts are served this long before they are fetched again: how stale a count may be.
    A request with a token of a later write gets its rows fetched anew."""

    fetch_share: float = Field(default=0.6, gt=0, lt=1)
    """Share of the time left which Rockstore and Counter have to answer; the rest is kept to score."""

    fetch_ms_max: int = Field(default=200, ge=1)
    """Longest wait for the stores, however much time is left."""

    candidates_max: int = Field(default=5_000, ge=1, le=5_000)
    """Candidates of one Score."""

    columns_max: int = Field(default=16, ge=0, le=256)
    """Further columns of the candidates in one Score."""

    signals_max: int = Field(default=64, ge=0)
    """Signals of one Score."""

    signal_ids_max: int = Field(default=10_000, ge=0)
    """Ids of one signal."""

    feature_log: FeatureLogConfig = field(default_factory=FeatureLogConfig)
    """What was served, with its features: what models are trained from."""

    shadow_model: str = ""
    """A model that scores a share of the requests beside the serving one, without effect; empty: none."""

    shadow_share: float = Field(default=0.01, ge=0, le=1)
    """Share of the requests, drawn by request id."""

    shadow_queue_max: int = Field(default=4, ge=1, le=64)
    """Requests that may wait for the shadow model; more are dropped and counted."""
