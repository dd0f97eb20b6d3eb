"""Every knob and limit of the FeedGenerator."""

from __future__ import annotations

from dataclasses import field

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.process import ProcessConfig


@dataclass(frozen=True, config=CONFIG)
class RecipeConfig:
    """How a feed is made."""

    boards_max: int = Field(default=2_000, ge=1, le=10_000)
    """Followed boards that a request retrieves from; those of the latest follow come first."""
    candidates_max: int = Field(default=1_000, ge=1, le=5_000)
    """Candidates that are retrieved and ranked."""
    window_days: int = Field(default=90, ge=1, le=3_650)
    """Pins saved longer ago are no candidates."""
    seen_window_days: int = Field(default=90, ge=1, le=366)
    """Pins seen within so many days are not shown again. At least `window_days`, or old pins come back."""
    seen_false_positive_rate: float = Field(default=0.005, ge=0.0001, le=0.1)
    """Share of unseen pins that the seen filter may hide from one request; 0.0001 to 0.1."""
    board_gap: int = Field(default=3, ge=1, le=100)
    """Places between two pins of one board, while there is anything else."""
    owner_gap: int = Field(default=2, ge=1, le=100)
    """Places between two pins of one owner, while there is anything else."""
    popular_counter: str = "popularity"
    """Counter whose greatest pins a user gets who follows nothing."""
    popular_max: int = Field(default=500, ge=1, le=5_000)
    """Popular pins that are considered."""


@dataclass(frozen=True, config=CONFIG)
class BudgetConfig:
    """Share of the time that is left which a stage may use; the rest is kept for the stages after it."""

    fetch_share: float = Field(default=0.4, gt=0, lt=1)
    """Graph, seen and signals, which run at the same time."""
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
    following: RecipeConfig = field(default_factory=RecipeConfig)
    """The recipe of the FOLLOWING feed."""
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
    last_known_bytes_max: int = Field(default=32_000_000, ge=0)
    """Memory for the followed boards that were last known, used while Apiary cannot be asked."""
    feature_log_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the requests whose served pins go to Scorpion's feature log; drawn by request id. 0: none."""
    feature_log_queue_max: int = Field(default=100, ge=1)
    """Sampled pages that wait to be told to Scorpion; more are dropped and counted."""
    feature_log_timeout_ms: int = Field(default=500, ge=1)
    """Deadline of telling Scorpion what was served; it is not tried again."""
