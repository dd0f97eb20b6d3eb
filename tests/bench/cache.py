"""`cache`: hits of Scorpion's row cache under Zipf requests: sharded by pin, in one piece, and not sharded.

2,000,000 pins, of which request after request draws 1,000 distinct ones by Zipf's law, into the real
`RowCache` with stores that answer at once: it is about hits, not about time. Three arrangements of the same
memory: one process; four with the pins shared out by the shards of the mesh, as Scorpion is deployed; four
that each get every fourth request whole, by chance, as behind a load balancer that knows no shards.
A cache begins as endless requests of the same law would have left it, so that what is measured has no start
in it: with least recently used out, it holds the pins that were asked for last, and the times since then are
independent and exponential (requests as a Poisson stream; Fill and Holst, 1996).
Rows also get too old (`cache_ttl_ms`): then it counts how often a pin is asked for in that time, so what
decides is the product of time and rate. That is measured apart, with room for all pins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from services.chassis.clock import FakeClock
from services.chassis.ids import shards_of
from services.cli.mesh.layout import NUM_SHARDS
from services.scorpion.cache import Ask, RowCache
from services.scorpion.config import ScorpionConfig
from services.scorpion.covers import ANY
from services.scorpion.feature_file import parse_feature_list
from services.scorpion.features import FeatureList, FetchedRows, StaticRows
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.slab import row_bytes
from tests.bench.heavy_mesh import COUNTERS, features_text
from tests.bench.heavy_world import FEATURES, HeavyWorld
from tests.bench.processes import machine
from tests.bench.report import Row, beside

PINS: Final = 2_000_000
ASKED: Final = 1_000
HOSTS: Final = 4
REQUESTS: Final = 600
MEMORIES_MB: Final = (64, 128, 256, 384, 512, 640)
EXPONENT: Final = 1.0
OTHER_EXPONENTS: Final = (0.9, 1.1)
OTHERS_MB: Final = (256, 512)
RATES: Final = (10, 30, 100)
"""Requests a second over all processes, where rows get old."""
_NEVER_MS: Final = 1 << 40
_CHUNK: Final = 10_000
_SLICES: Final = 120
"""Of the time that rows live: rows of a slice are taken as fetched in its middle."""
Requests = list[NDArray[np.uint64]]


@dataclass(frozen=True)
class Law:
    """How pins are asked for."""

    exponent: float
    shares: NDArray[np.float64]
    """float64 (pin,): of all draws, the most popular one first."""
    ids: NDArray[np.uint64]
    """uint64 (pin,), as the feed benchmark's; popularity says nothing of the id."""

    @classmethod
    def zipf(cls, exponent: float) -> Law:
        weights = np.arange(1, PINS + 1, dtype=np.float64) ** -exponent
        ids = np.random.default_rng(31).permutation(PINS).astype(np.uint64)
        return cls(exponent, weights / weights.sum(), ids + np.uint64(HeavyWorld.PIN_BASE))

    def requests(self, count: int) -> tuple[Requests, float]:
        """Distinct pins in the order in which they were drawn; and how many draws a request took."""
        generator, ends = np.random.default_rng(32), np.cumsum(self.shares)
        requests, draws = [], 0
        for _ in range(count):
            drawn = np.empty(0, np.int64)
            first = drawn
            while len(first) < ASKED:
                more = np.searchsorted(ends, generator.random(4 * ASKED) * ends[-1], side="right")
                drawn = np.concatenate([drawn, more])
                first = np.sort(np.unique(drawn, return_index=True)[1])
            requests.append(self.ids[drawn[first[:ASKED]]])
            draws += int(first[ASKED - 1]) + 1
        return requests, draws / count


@dataclass(frozen=True)
class Setting:
    """What is varied. `rate` in requests a second over all processes; 0: no time passes."""

    total_bytes: int
    ttl_ms: int = _NEVER_MS
    rate: int = 0


def run() -> tuple[list[Row], list[str]]:
    features = parse_feature_list(features_text())
    per_row = row_bytes(features.kinds[0])
    ttl_ms = ScorpionConfig().cache_ttl_ms
    rows = [Row("memory of a row of 64 features, with index and the bytes of two models", per_row, "bytes")]
    notes = [machine(), f"{PINS:,} pins, {ASKED:,} distinct ones a request, {REQUESTS} requests a figure"]
    for exponent in (EXPONENT, *OTHER_EXPONENTS):
        law = Law.zipf(exponent)
        bench = _Bench(features, law, *law.requests(REQUESTS))
        notes.append(f"Zipf {exponent}: {bench.draws:,.0f} draws make {ASKED:,} distinct pins")
        for memory_mb in MEMORIES_MB if exponent == EXPONENT else OTHERS_MB:
            setting = Setting(memory_mb << 20)
            held = f"{memory_mb} MB, {setting.total_bytes // per_row:,} rows"
            rows += _rows(f"Zipf {exponent}, {held}", bench, setting)
        if exponent == EXPONENT:
            room = HOSTS * (PINS + 1) * per_row
            for rate in RATES:
                name = f"Zipf {exponent}, room for all, rows live {ttl_ms / 1000:.0f} s, {rate} requests/s"
                rows += _rows(name, bench, Setting(room, ttl_ms, rate))
    return rows, notes


def _rows(name: str, bench: _Bench, setting: Setting) -> list[Row]:
    """Sharded beside the two others."""
    sharded = bench.hit_share(setting, HOSTS, sharded=True)
    others = {
        "one process": bench.hit_share(setting, 1, sharded=True),
        f"{HOSTS}, not sharded": bench.hit_share(setting, HOSTS, sharded=False),
    }
    return [
        beside(f"{name}: hits", 100 * sharded, "%", peer=peer, peer_value=100 * share, more_is_better=True)
        for peer, share in others.items()
    ]


@dataclass(frozen=True)
class _Bench:
    """Caches under one law's requests."""

    features: FeatureList
    law: Law
    requests: Requests
    draws: float
    """Of a request, before what it drew twice was left out."""

    def hit_share(self, setting: Setting, hosts: int, *, sharded: bool) -> float:
        """Hits of all that was asked, over all hosts; not sharded: each request whole, to one by chance."""
        clock = FakeClock()
        caches = [self._cache(setting.total_bytes // hosts, setting.ttl_ms, clock) for _ in range(hosts)]
        self._fill(caches, setting, clock, sharded=sharded)
        chance = np.random.default_rng(33)
        hits = 0
        for ids in self.requests:
            if sharded:
                homes = _homes(ids, hosts)
                hits += sum(_hits(cache, ids[homes == host]) for host, cache in enumerate(caches))
            else:
                hits += _hits(caches[int(chance.integers(hosts))], ids)
            if setting.rate:
                clock.advance_ms(1_000 // setting.rate)
        return hits / (len(self.requests) * ASKED)

    def _cache(self, cache_bytes: int, ttl_ms: int, clock: FakeClock) -> RowCache:
        metrics = ScorpionMetrics(CollectorRegistry())
        [columns] = self.features.kinds
        return RowCache(
            self.features, columns, cache_bytes=cache_bytes, ttl_ms=ttl_ms, clock=clock, metrics=metrics
        )

    def _fill(self, caches: list[RowCache], setting: Setting, clock: FakeClock, *, sharded: bool) -> None:
        """Fetch what endless requests would have left, slice of time by slice, up to now."""
        homes, pins = _homes(self.law.ids, len(caches)), np.arange(PINS)
        histories = [
            self._history(
                pins[homes == host] if sharded else pins,
                cache.capacity,
                setting,
                # A host that gets some of the requests whole sees a pin that much less often.
                draws_s=setting.rate * self.draws / (1 if sharded else len(caches)),
                generator=np.random.default_rng((34, host)),
            )
            for host, cache in enumerate(caches)
        ]
        half_ms = setting.ttl_ms // (2 * _SLICES) if setting.rate else 0
        for slices in zip(*histories, strict=True):
            clock.advance_ms(half_ms)
            for cache, pins_fetched in zip(caches, slices, strict=True):
                for start in range(0, len(pins_fetched), _CHUNK):
                    _hits(cache, self.law.ids[pins_fetched[start : start + _CHUNK]])
            clock.advance_ms(half_ms)

    def _history(
        self,
        pins: NDArray[np.int64],
        capacity: int,
        setting: Setting,
        *,
        draws_s: float,
        generator: np.random.Generator,
    ) -> list[NDArray[np.int64]]:
        """What of these pins a host's cache holds, by the time of its fetch, the oldest first."""
        shares = self.law.shares[pins]
        if not setting.rate:
            newest = np.argsort(generator.exponential(1 / shares))[:capacity]
            return [pins[newest[::-1]]]
        # Fresh for the time to live, then away until it is drawn: a renewal process, seen at any moment.
        drawn = draws_s * shares * setting.ttl_ms / 1000
        fresh = pins[generator.random(len(pins)) < drawn / (1 + drawn)]
        at = generator.integers(0, _SLICES, len(fresh))
        return [fresh[at == number] for number in range(_SLICES)]


def _homes(ids: NDArray[np.uint64], hosts: int) -> NDArray[np.uint32]:
    """The host of each pin, by the mesh's shards."""
    return shards_of(ids, num_shards=NUM_SHARDS) % np.uint32(hosts)


def _hits(cache: RowCache, ids: NDArray[np.uint64]) -> int:
    """How many were cached; the others are now."""
    ask = Ask(ids=ids, fetch=_fetch, wait_s=1.0, accepted=ANY, part=None, blocks=_NO_BLOCKS, values=False)
    return cache.get(ask).hit_count


def _fetch(ids: NDArray[np.uint64]) -> FetchedRows:
    """All there, all zero: what is in a row does not matter here."""
    rows = StaticRows(_ZEROS[: len(ids)], np.empty((len(ids), 0), np.uint64))
    return FetchedRows(rows, np.ones(len(ids), np.bool_))


_NO_BLOCKS: Final = np.empty((0, 0, 0), np.int8)
_ZEROS: Final = np.zeros((_CHUNK, FEATURES + len(COUNTERS)), np.float32)
