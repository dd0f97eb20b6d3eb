"""Every metric of Polaris. Calls, the follower and the process are counted by the chassis."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.polaris.arena import Arena

BOARD_BUCKETS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
PIN_BUCKETS = (10, 50, 100, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 512_000)
OUTCOMES = ("answered", "surplus", "window", "flags", "seen", "duplicate")


class PolarisMetrics:
    """Made once per process, with its registry."""

    def __init__(self, registry: CollectorRegistry, arena: Arena) -> None:
        def gauge(name: str, help_: str) -> Gauge:
            return Gauge(f"feedmesh_polaris_{name}", help_, registry=registry)

        gauge("pins", "Pins in memory; a pin of two boards counts twice.").set_function(
            lambda: arena.pin_count
        )
        gauge("boards", "Boards that have an owner or a pin.").set_function(lambda: arena.board_count)
        gauge("arena_bytes", "Memory of pins, boards and their table.").set_function(lambda: arena.nbytes)
        gauge("arena_rebuilds", "Times that the arena was laid out anew since the start.").set_function(
            lambda: arena.rebuild_count
        )
        self._changes = Counter(
            "feedmesh_polaris_changes_total",
            "Records, by outcome: applied, or ignored because a later save of the pin is there.",
            ["outcome"],
            registry=registry,
        )
        self._lost = Counter(
            "feedmesh_polaris_pins_lost_total",
            "Pins that fell off, by limit: board (pins_per_board_max) or process (pins_max).",
            ["limit"],
            registry=registry,
        )
        self._boards = Histogram(
            "feedmesh_polaris_retrieve_boards",
            "Boards in one Retrieve.",
            buckets=BOARD_BUCKETS,
            registry=registry,
        )
        self._touched = Histogram(
            "feedmesh_polaris_retrieve_touched_pins",
            "Pins touched by one Retrieve.",
            buckets=PIN_BUCKETS,
            registry=registry,
        )
        outcomes = Counter(
            "feedmesh_polaris_retrieve_pins_total",
            "Touched pins by outcome: answered, surplus, window, flags, seen, duplicate.",
            ["outcome"],
            registry=registry,
        )
        # Looked up once: by name it costs more than the count itself.
        self._outcomes = {name: outcomes.labels(name) for name in OUTCOMES}
        self._unknown = Counter(
            "feedmesh_polaris_unknown_boards_total",
            "Boards asked for that have neither owner nor pin here.",
            registry=registry,
        )

    def applied(self, count: int, *, ignored_count: int, displaced_count: int) -> None:
        """Count the records of one slice."""
        self._changes.labels("applied").inc(count)
        self._changes.labels("ignored").inc(ignored_count)
        self._lost.labels("board").inc(displaced_count)

    def shrunk(self, count: int) -> None:
        """Count pins taken off because of `pins_max`."""
        self._lost.labels("process").inc(count)

    def retrieved(
        self,
        *,
        board_count: int,
        known_count: int,
        touched_count: int,
        answered_count: int,
        window_count: int,
        flags_count: int,
        seen_count: int,
        duplicate_count: int,
    ) -> None:
        """Count one Retrieve."""
        self._boards.observe(board_count)
        self._touched.observe(touched_count)
        self._unknown.inc(board_count - known_count)
        left_out = window_count + flags_count + seen_count + duplicate_count
        counts = {
            "answered": answered_count,
            "surplus": touched_count - left_out - answered_count,
            "window": window_count,
            "flags": flags_count,
            "seen": seen_count,
            "duplicate": duplicate_count,
        }
        for outcome, count in counts.items():
            self._outcomes[outcome].inc(count)
