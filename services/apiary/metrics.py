"""Every metric of Apiary. Calls, the follower and the process are counted by the chassis."""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.registry import CollectorRegistry

from services.apiary.cache import ColumnCache

BOARD_BUCKETS = (1, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_000, 5_000, 10_000)


class ApiaryMetrics:
    """Made once per process, with its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, help_: str, *labels: str) -> Counter:
            return Counter(f"feedmesh_apiary_{name}", help_, labels, registry=registry)

        self._edges = counter(
            "edges_total",
            "Edges put or deleted, by mapping and outcome: made, known, removed, absent.",
            "mapping",
            "outcome",
        )
        self._forgotten = counter("forgotten_users_total", "Users that were forgotten.")
        self._forgotten_edges = counter(
            "forgotten_edges_total",
            "Other sides of forgotten users' edges on this process, by outcome: removed, or left over "
            "because forget_edges_max was reached.",
            "outcome",
        )
        self._missing = counter(
            "missing_owners_total",
            "Followed owners without boards in an answer, by reason: host (it did not answer), "
            "limit (owners_max).",
            "reason",
        )
        self._boards = Histogram(
            "feedmesh_apiary_followed_boards",
            "Followed boards of one GetFollowedBoards or GetUserGraph, before its limit.",
            buckets=BOARD_BUCKETS,
            registry=registry,
        )
        self._owners = Histogram(
            "feedmesh_apiary_remote_owners",
            "Followed owners of one GetFollowedBoards or GetUserGraph that live on other hosts.",
            buckets=(0, *BOARD_BUCKETS),
            registry=registry,
        )
        self._hidden = Histogram(
            "feedmesh_apiary_hidden",
            "Pins, boards and users of one GetUserGraph that the user hides, before its limit.",
            buckets=(0, *BOARD_BUCKETS),
            registry=registry,
        )
        self._hidden_left_out = counter(
            "hidden_left_out_total",
            "Hidden pins, boards and users that a GetUserGraph left out (hidden_max): they are shown again.",
        )
        self._caches = {
            name: Gauge(
                f"feedmesh_apiary_cache_{name}",
                f"{text}, by cache: follows (what users follow, own and hide), boards (of owners).",
                ["cache"],
                registry=registry,
            )
            for name, text in (
                ("hits", "Reads answered from the cache since the start"),
                ("misses", "Reads of the store since the start"),
                ("evictions", "Entries dropped for room since the start"),
                ("entries", "Entries now"),
                ("bytes", "Bytes now"),
            )
        }

    def watch(self, name: str, cache: ColumnCache[Any]) -> None:
        """Show a cache's counts."""
        shown = {
            "hits": lambda: cache.counts.hits,
            "misses": lambda: cache.counts.misses,
            "evictions": lambda: cache.counts.evictions,
            "entries": lambda: len(cache),
            "bytes": lambda: cache.nbytes,
        }
        for gauge, value in shown.items():
            self._caches[gauge].labels(name).set_function(value)

    def edges(self, mapping: str, outcome: str, count: int) -> None:
        """Count edges of a batch."""
        self._edges.labels(mapping, outcome).inc(count)

    def forgotten(self, *, removed_count: int, left_count: int) -> None:
        """Count one forgotten user."""
        self._forgotten.inc()
        self._forgotten_edges.labels("removed").inc(removed_count)
        self._forgotten_edges.labels("left").inc(left_count)

    def followed(
        self, *, board_count: int, remote_owner_count: int, silent_owner_count: int, surplus_owner_count: int
    ) -> None:
        """Count the followed boards of one answer."""
        self._boards.observe(board_count)
        self._owners.observe(remote_owner_count)
        self._missing.labels("host").inc(silent_owner_count)
        self._missing.labels("limit").inc(surplus_owner_count)

    def hidden(self, *, total_count: int, left_out_count: int) -> None:
        """Count what one GetUserGraph hides."""
        self._hidden.observe(total_count)
        if left_out_count:
            self._hidden_left_out.inc(left_out_count)
