"""Every knob and limit of Pixie."""

from __future__ import annotations

from dataclasses import field
from pathlib import Path

from pydantic import Field
from pydantic.dataclasses import dataclass

from services.chassis.config import CONFIG
from services.chassis.process import ProcessConfig
from services.pixie.settings import WalkSettings, default_presets


@dataclass(frozen=True, config=CONFIG)
class PixieConfig:
    """The whole configuration of one Pixie process."""

    process: ProcessConfig = field(default_factory=lambda: ProcessConfig(listen="127.0.0.1:7009"))
    """Addresses, threads, directories."""

    graphs_dir: Path = Path("feedmesh-data/graphs")
    """Directory of graph versions, as `feedmesh pixie build` writes them; made when absent, and watched."""

    graphs_scan_ms: int = Field(default=10_000, ge=100)
    """Look at the directory at least this often, for file systems that do not tell of changes."""

    verify_graphs: bool = True
    """Whether a graph's checksums are compared before it serves, which reads all of it: 10 ns an edge."""

    default_preset: str = "real"
    """The preset that a walk has which names none."""

    presets: dict[str, WalkSettings] = Field(default_factory=default_presets, min_length=1, max_length=64)
    """Named settings. A table in the file replaces all of them."""

    visit_slots: int = Field(default=1 << 20, ge=1 << 10, le=1 << 26)
    """Distinct (query pin, visited pin) pairs that one walk can count, and as many of boards. What finds no
    room is dropped, and told of: with a quarter of so many steps nothing is. Memory is 120 bytes a pair, for
    each walk at a time, of what walks have needed so far."""

    walk_threads: int = Field(default=2, ge=1, le=64)
    """Threads that walk large requests."""

    parallel_steps_min: int = Field(default=200_000, ge=1)
    """Steps from which a request with several query pins is walked by several threads."""

    query_pins_max: int = Field(default=1_000, ge=1, le=1_000)
    """Query pins of one walk."""

    excluded_max: int = Field(default=20_000, ge=0, le=20_000)
    """Pins, or boards, that one request excludes."""

    pins_default: int = Field(default=1_000, ge=1)
    """Pins that are answered when a request does not say."""

    boards_default: int = Field(default=500, ge=1)
    """Boards that are answered when a request does not say."""

    limit_max: int = Field(default=10_000, ge=1, le=10_000)
    """Pins, boards or candidates of one answer."""

    reasons_max: int = Field(default=16, ge=0, le=16)
    """Query pins that are named for each row of an answer."""

    def __post_init__(self) -> None:
        if self.default_preset not in self.presets:
            raise ValueError(
                f"default_preset is {self.default_preset!r}, which is none of {', '.join(self.presets)}"
            )
        if max(self.pins_default, self.boards_default) > self.limit_max:
            raise ValueError(f"pins_default and boards_default must not be over limit_max ({self.limit_max})")
