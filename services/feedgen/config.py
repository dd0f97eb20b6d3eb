"""Every knob and limit of the FeedGenerator."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.process import ProcessConfig


@dataclass(frozen=True, config=CONFIG)
class FollowingConfig:
    """What this deployment has otherwise in the recipe `following`. A file following.toml in `recipes_dir`
    says it better; this stays for configurations that were written before there were such files."""

    boards_max: int | None = Field(default=None, ge=1, le=10_000)
    """sources.following.lists_max."""
    candidates_max: int | None = Field(default=None, ge=1, le=5_000)
    """sources.following.candidates_max, and score.candidates_max."""
    window_days: int | None = Field(default=None, ge=1, le=3_650)
    """sources.following.window_days."""
    seen_window_days: int | None = Field(default=None, ge=1, le=366)
    """seen.window_days."""
    seen_false_positive_rate: float | None = Field(default=None, ge=0.0001, le=0.1)
    """seen.false_positive_rate."""
    board_gap: int | None = Field(default=None, ge=1, le=100)
    """select.board_gap."""
    owner_gap: int | None = Field(default=None, ge=1, le=100)
    """select.owner_gap."""
    popular_counter: str | None = None
    """popular.counter."""
    popular_max: int | None = Field(default=None, ge=1, le=5_000)
    """popular.pins_max."""


@dataclass(frozen=True, config=CONFIG)
class BudgetConfig:
    """Share of the time that is left which a stage may use; the rest is kept for the stages after it."""

    fetch_share: float = Field(default=0.4, gt=0, lt=1)
    """Graph, seen and signals, which run at the same time."""
    walk_share: float = Field(default=0.4, gt=0, lt=1)
    """Boards from Pixie."""
    retrieve_share: float = Field(default=0.5, gt=0, lt=1)
    """Candidates from Polaris, or popular pins."""
    score_share: float = Field(default=0.6, gt=0, lt=1)
    """Full scores from Scorpion."""
    display_share: float = Field(default=0.7, gt=0, lt=1)
    """Titles and pictures from Rockstore."""
    explain_share: float = Field(default=0.7, gt=0, lt=1)
    """What scores are made of, when asked for, from Scorpion; at the same time as the display."""
    request_ms_max: int = Field(default=1_000, ge=10)
    """Longest time a feed may take, also when the caller would wait longer."""


@dataclass(frozen=True, config=CONFIG)
class ImpressionsConfig:
    """The backend impressions that are published after the answer."""

    queue_max: int = Field(default=10_000, ge=1)
    """Pages that wait to be published; more are dropped and counted (the cursor still prevents repeats)."""
    batch_max: int = Field(default=200, ge=1, le=1_000)
    """Pages in one Publish."""
    gather_ms: int = Field(default=100, ge=0, le=5_000)
    """How long a page waits for others to be published with it. Meanwhile its pins are excluded in this
    process alone: a new session of the same user at another FeedGenerator may show them again."""
    timeout_ms: int = Field(default=5_000, ge=1)
    """Deadline of one Publish."""
    retry_ms_max: int = Field(default=2_000, ge=1)
    """Longest pause between two tries."""
    drain_ms: int = Field(default=3_000, ge=0)
    """Time that is left to publish what waits when the process stops."""


@dataclass(frozen=True, config=CONFIG)
class FeedgenConfig:
    """The FeedGenerator."""

    process: ProcessConfig = field(default_factory=ProcessConfig)
    """Addresses, folders and limits that every process has."""
    recipes_dir: Path | None = None
    """Folder of recipes, one TOML file a feed: new feeds, and other versions of those that come with
    feedmesh. Absent: those alone. Read at the start."""
    experiments_path: Path | None = None
    """TOML file of experiments; watched, and a change applies at once. Absent: none run."""
    following: FollowingConfig = field(default_factory=FollowingConfig)
    """Older form of a recipe's values."""
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    """How the time of a request is shared out."""
    impressions: ImpressionsConfig = field(default_factory=ImpressionsConfig)
    """Backend impressions."""
    page_size_default: int = Field(default=50, ge=1, le=1_000)
    """Items of a page when the request does not say."""
    page_size_max: int = Field(default=250, ge=1, le=1_000)
    """Items of a page at most."""
    seen_pins_max: int = Field(default=1_000, ge=0, le=20_000)
    """Client-sent seen pins at most."""
    session_hours_max: int = Field(default=168, ge=1, le=8_760)
    """Age of a session that a cursor may go on with; an older one is refused, and a new one begins."""
    insertions_max: int = Field(default=100, ge=0, le=1_000)
    """Items that a request may bring for the recipe's slots."""
    last_known_bytes_max: int = Field(default=32_000_000, ge=0)
    """Memory for what users follow and hide as last known, used while Apiary cannot be asked."""
    feature_log_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the requests whose served pins go to Scorpion's feature log; drawn by request id. 0: none."""
    feature_log_queue_max: int = Field(default=100, ge=1)
    """Sampled pages that wait to be told to Scorpion; more are dropped and counted."""
    feature_log_timeout_ms: int = Field(default=500, ge=1)
    """Deadline of telling Scorpion what was served; it is not tried again."""
