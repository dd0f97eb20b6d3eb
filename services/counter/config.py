"""Every knob and limit of Counter."""

from __future__ import annotations

from dataclasses import field
from typing import Final, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.log.follower import FollowerConfig
from services.chassis.process import ProcessConfig
from services.counter.counters import WINDOW_SLOTS_MAX, CounterKind, Counters, CounterSpec
from services.counter.table import ENTITIES_HARD_MAX, TableLimits

_MB: Final = 1 << 20
_HOUR_MS: Final = 3_600_000

Action = Literal["impression", "closeup", "click", "save", "hide", "served"]


@dataclass(frozen=True, config=CONFIG)
class DeclaredCounter:
    """One counter."""

    name: str
    """Name in requests. Renaming it starts a new one at 0."""

    kind: Literal["total", "decayed", "windowed"] = "total"
    """total: adds for ever. decayed: halves every half-life, answered as 0 when below. windowed: adds the
    events of the last hours."""

    actions: dict[Action, float] = field(default_factory=dict)
    """Actions that count, and the weight of each: whole and positive for total and windowed, to 1,000 for
    windowed."""

    half_life_hours: float = Field(default=0, ge=0)
    """Of a decayed counter."""

    window_hours: float = Field(default=0, ge=0)
    """Of a windowed counter."""

    window_slots: int = Field(default=12, ge=1, le=WINDOW_SLOTS_MAX)
    """Slots that a window is cut into, counted from 1970 (UTC): the answer has the slot that runs and those
    before it, so it covers the window less up to one slot. Each costs 2 bytes an entity."""

    def build(self) -> CounterSpec:
        """The domain's counter; raises ValueError with what is wrong."""
        return CounterSpec(
            name=self.name,
            kind=CounterKind(self.kind),
            weights={str(action): weight for action, weight in self.actions.items()},
            half_life_ms=round(self.half_life_hours * _HOUR_MS),
            window_ms=round(self.window_hours * _HOUR_MS),
            window_slots=self.window_slots if self.kind == "windowed" else 0,
        )

    def __post_init__(self) -> None:
        self.build()


DEFAULT_COUNTERS: Final = (
    DeclaredCounter(name="served", actions={"served": 1}),
    DeclaredCounter(name="impressions", actions={"impression": 1}),
    DeclaredCounter(name="closeups", actions={"closeup": 1}),
    DeclaredCounter(name="clicks", actions={"click": 1}),
    DeclaredCounter(name="saves", actions={"save": 1}),
    DeclaredCounter(name="hides", actions={"hide": 1}),
    DeclaredCounter(
        name="popularity",
        kind="decayed",
        actions={"save": 3, "click": 1, "closeup": 1, "hide": -2},
        half_life_hours=72,
    ),
)
"""`served` counts what the FeedGenerator put into answers, `impressions` what frontends saw on screens."""


@dataclass(frozen=True, config=CONFIG)
class MemoryConfig:
    """What the storage engine may spend."""

    block_cache_bytes: int = Field(default=16 * _MB, ge=_MB)
    """Cache of blocks read from files; rows are read at start-up only, so a small one will do."""

    memtable_bytes: int = Field(default=64 * _MB, ge=_MB)
    """Writes that are not in files yet."""


@dataclass(frozen=True, config=CONFIG)
class CounterConfig:
    """The whole configuration of one Counter process."""

    process: ProcessConfig = field(default_factory=ProcessConfig)
    """Addresses, threads, directories."""

    follower: FollowerConfig = field(default_factory=FollowerConfig)
    """Following the log."""

    memory: MemoryConfig = field(default_factory=MemoryConfig)
    """Caches of the storage engine."""

    counters: tuple[DeclaredCounter, ...] = DEFAULT_COUNTERS
    """What is counted, in the order of the answer's columns. Given in the file, it replaces the default
    whole. A counter that is added starts at 0; the past is counted only by following the log anew. None of
    the default ones is windowed: nothing in this mesh reads one, and each costs every entity its slots."""

    counters_max: int = Field(default=64, ge=1, le=256)
    """Counters that may be declared: each costs 4 bytes an entity, or 2 a slot."""

    entities_max: int = Field(default=20_000_000, ge=1, le=ENTITIES_HARD_MAX)
    """Entities that are counted; later ones are refused and counted as such. About 100 to 150 bytes of memory
    each with the default counters."""

    entities_initial: int = Field(default=1 << 16, ge=1, le=1 << 26)
    """Room in memory at the start; it doubles when needed."""

    asked_max: int = Field(default=50_000, ge=1)
    """Entities of one GetCounts."""

    top_max: int = Field(default=10_000, ge=1)
    """Greatest limit of GetTop."""

    top_default: int = Field(default=100, ge=1)
    """Limit of GetTop when the request has none."""

    top_cache_ms: int = Field(default=5_000, ge=0)
    """How old an answer of GetTop may be: each is a scan of all entities."""

    top_cache_max: int = Field(default=64, ge=1)
    """Answers of GetTop that are kept, by counter and time asked for."""

    add_slice: int = Field(default=20_000, ge=1)
    """Increments counted while readers wait, about 2 ms."""

    scan_slice: int = Field(default=100_000, ge=1)
    """Rows that GetTop scans while the follower waits, about 1 ms."""

    part_entities: int = Field(default=20_000, ge=1)
    """Entities of one GetCounts that are worth a thread, about 0.6 ms: a request for twice as many or more is
    shared with `read_threads`."""

    read_threads: int = Field(default=1, ge=0, le=64)
    """Threads that help with large requests, beside each request's own; 0: none."""

    def __post_init__(self) -> None:
        if len(self.counters) > self.counters_max:
            raise ValueError(
                f"{len(self.counters)} counters are declared, counters_max is {self.counters_max}"
            )
        Counters([counter.build() for counter in self.counters])
        if self.top_default > self.top_max:
            raise ValueError(f"top_default is {self.top_default}, must not exceed top_max ({self.top_max})")
        answer_bytes = self.asked_max * len(self.counters) * 2
        if answer_bytes > self.process.message_bytes_max:
            raise ValueError(
                f"asked_max is {self.asked_max}: {len(self.counters)} counts each are {answer_bytes} bytes, "
                f"more than process.message_bytes_max ({self.process.message_bytes_max})"
            )

    @property
    def table_limits(self) -> TableLimits:
        """The part that the table is given."""
        return TableLimits(
            entities_max=self.entities_max,
            entities_initial=min(self.entities_initial, self.entities_max),
            add_slice=self.add_slice,
            scan_slice=self.scan_slice,
            part_entities=self.part_entities,
            read_threads=self.read_threads,
        )
