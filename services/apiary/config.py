"""Every knob and limit of Apiary."""

from __future__ import annotations

from dataclasses import field
from typing import Final

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.apiary.user_graph import GraphLimits
from services.chassis.config import CONFIG
from services.chassis.log.follower_config import FollowerConfig
from services.chassis.process import ProcessConfig

_MB: Final = 1 << 20
BATCH_ENTRIES_MAX: Final = 20_000
"""What a store takes in one batch (`StoreLimits.batch_entries_max`)."""
ENTRIES_PER_RECORD: Final = 6
"""Most batch entries of one record: two edges (edge, row, count each)."""
ENTRIES_PER_FORGOTTEN: Final = 3
"""Batch entries of one reverse edge that is taken away."""
_RESERVE: Final = 1_000
"""For the follower's offsets and ids."""


@dataclass(frozen=True, config=CONFIG)
class MemoryConfig:
    """What reads and the storage engine may spend."""

    follows_cache_bytes: int = Field(default=128 * _MB, ge=0)
    """Decoded columns of what users follow, own and hide: about 16 bytes an edge, 1,100 a user, and 400 for
    each of interests, own boards, hidden pins, boards and users of which there are any."""

    boards_cache_bytes: int = Field(default=64 * _MB, ge=0)
    """Decoded columns of owners' boards, 8 bytes a board and 700 an owner."""

    block_cache_bytes: int = Field(default=128 * _MB, ge=_MB)
    """Cache of blocks read from files."""

    memtable_bytes: int = Field(default=64 * _MB, ge=_MB)
    """Writes that are not in files yet."""


@dataclass(frozen=True, config=CONFIG)
class ApiaryConfig:
    """The whole configuration of one Apiary process."""

    process: ProcessConfig = field(default_factory=ProcessConfig)
    """Addresses, threads, directories."""

    follower: FollowerConfig = field(default_factory=FollowerConfig)
    """Following the log."""

    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """Caches."""

    boards_default: int = Field(default=2_000, ge=1)
    """Boards of one answer to a GetFollowedBoards that names no limit."""

    boards_max: int = Field(default=10_000, ge=1)
    """Most followed boards of one answer of GetFollowedBoards or GetUserGraph."""

    interests_max: int = Field(default=1_000, ge=1)
    """Most followed interests of one answer of GetUserGraph; older ones of a user are not kept in memory."""

    own_boards_max: int = Field(default=1_000, ge=1)
    """Most own boards of one answer of GetUserGraph."""

    hidden_max: int = Field(default=10_000, ge=1)
    """Most hidden pins, boards and users, of each, of one answer of GetUserGraph. What a user hid before
    these is shown again; it is counted."""

    follows_max: int = Field(default=50_000, ge=1)
    """Edges of one user that one scan reads. Of a user with more (interests, own boards and hidden things
    among them), unfollowed boards are read, then followed owners, then boards, the latest of each first and
    these many in all; what is beyond is left out. The other lists have limits of their own."""

    owners_max: int = Field(default=10_000, ge=1)
    """Owners of one GetOwnedBoards; and followed owners that GetFollowedBoards and GetUserGraph look at, the
    latest first. The others are counted as missing."""

    boards_per_owner_max: int = Field(default=2_000, ge=1)
    """Boards of one owner that are answered, the latest first."""

    owned_boards_timeout_ms: int = Field(default=50, gt=0)
    """How long GetFollowedBoards and GetUserGraph wait for owners' boards from other hosts, at most."""

    deadline_share: float = Field(default=0.8, gt=0.0, le=1.0)
    """Share of the time that a request has left which may go into that wait."""

    targets_max: int = Field(default=10_000, ge=1)
    """Targets of one CheckFollows."""

    page_default: int = Field(default=100, ge=1)
    """Rows of one page when no size is named."""

    page_max: int = Field(default=1_000, ge=1)
    """Most rows of one page."""

    forget_edges_max: int = Field(default=1_500, ge=0)
    """When users are forgotten: the other sides of their edges that one batch of the follower takes away,
    the latest first. What is beyond stays and is counted."""

    @property
    def graph_limits(self) -> GraphLimits:
        """What is kept of one user's graph."""
        return GraphLimits(
            follows_max=self.follows_max,
            interests_max=self.interests_max,
            own_boards_max=self.own_boards_max,
            hidden_max=self.hidden_max,
        )

    def __post_init__(self) -> None:
        entries = (
            ENTRIES_PER_RECORD * self.follower.batch_records_max
            + ENTRIES_PER_FORGOTTEN * self.forget_edges_max
        )
        if entries > BATCH_ENTRIES_MAX - _RESERVE:
            raise ValueError(
                f"follower.batch_records_max = {self.follower.batch_records_max} with forget_edges_max = "
                f"{self.forget_edges_max} could make batches of {entries} entries; the store takes "
                f"{BATCH_ENTRIES_MAX}, of which {_RESERVE} are kept for the follower"
            )
        for name in ("boards", "page"):
            if getattr(self, f"{name}_default") > getattr(self, f"{name}_max"):
                raise ValueError(f"{name}_default is above {name}_max")
