"""Every metric of Polaris. Calls, the follower and the process are counted by the chassis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.polaris.arena import Arena
from services.polaris.lists import BOARD, INTEREST, Lists

LIST_BUCKETS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
PIN_BUCKETS = (10, 50, 100, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 512_000)
OUTCOMES = ("answered", "surplus", "window", "flags", "seen", "duplicate")


@dataclass(frozen=True, slots=True)
class _Retrievals:
    """What one kind of list counts."""

    lists: Histogram
    touched: Histogram
    unknown: Counter
    outcomes: Mapping[str, Counter]


class PolarisMetrics:
    """Made once per process, with its registry."""

    def __init__(self, registry: CollectorRegistry, lists: Lists) -> None:
        def gauge(name: str, help_: str, value: Callable[[Arena], float]) -> None:
            by_kind = Gauge(f"feedmesh_polaris_{name}", help_, ["kind"], registry=registry)
            for each in (lists.boards, lists.interests):
                by_kind.labels(each.kind).set_function(partial(value, each.arena))

        gauge("pins", "Pins in memory; one of two boards, or interests, counts twice.", lambda a: a.pin_count)
        gauge(
            "lists", "Boards that have an owner or a pin; interests that have a pin.", lambda a: a.board_count
        )
        gauge("arena_bytes", "Memory of pins, lists and their table.", lambda a: a.nbytes)
        gauge(
            "arena_rebuilds",
            "Times that the arena was laid out anew since the start.",
            lambda a: a.rebuild_count,
        )
        self._changes = Counter(
            "feedmesh_polaris_changes_total",
            "Records, by outcome: applied, or ignored because a later word on the pin is there.",
            ["kind", "outcome"],
            registry=registry,
        )
        self._lost = Counter(
            "feedmesh_polaris_pins_lost_total",
            "Pins that fell off, by limit: list (of one board or interest) or process (of all).",
            ["kind", "limit"],
            registry=registry,
        )
        asked = Histogram(
            "feedmesh_polaris_retrieve_lists",
            "Boards, or interests, in one Retrieve.",
            ["kind"],
            buckets=LIST_BUCKETS,
            registry=registry,
        )
        touched = Histogram(
            "feedmesh_polaris_retrieve_touched_pins",
            "Pins touched by one Retrieve.",
            ["kind"],
            buckets=PIN_BUCKETS,
            registry=registry,
        )
        outcomes = Counter(
            "feedmesh_polaris_retrieve_pins_total",
            "Touched pins by outcome: answered, surplus, window, flags, seen, duplicate.",
            ["kind", "outcome"],
            registry=registry,
        )
        unknown = Counter(
            "feedmesh_polaris_unknown_lists_total",
            "Boards, or interests, asked for that are not known here.",
            ["kind"],
            registry=registry,
        )
        # Looked up once: by name it costs more than the count itself.
        self._of_kind = {
            kind: _Retrievals(
                lists=asked.labels(kind),
                touched=touched.labels(kind),
                unknown=unknown.labels(kind),
                outcomes={name: outcomes.labels(kind, name) for name in OUTCOMES},
            )
            for kind in (BOARD, INTEREST)
        }

    def applied(self, kind: str, count: int, *, ignored_count: int, displaced_count: int) -> None:
        """Count the records of one slice."""
        self._changes.labels(kind, "applied").inc(count)
        self._changes.labels(kind, "ignored").inc(ignored_count)
        self._lost.labels(kind, "list").inc(displaced_count)

    def shrunk(self, kind: str, count: int) -> None:
        """Count pins taken off because of the limit of the process."""
        self._lost.labels(kind, "process").inc(count)

    def retrieved(
        self,
        kind: str,
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
        metrics = self._of_kind[kind]
        metrics.lists.observe(board_count)
        metrics.touched.observe(touched_count)
        metrics.unknown.inc(board_count - known_count)
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
            metrics.outcomes[outcome].inc(count)
