"""Owns how Aperture's parts fit together: one store, one memory, the view that fills them and the reader.

Made here once, for `__main__` and for tests alike.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.aperture.config import ApertureConfig
from services.aperture.freezer import Freezer
from services.aperture.ingest import ApertureView
from services.aperture.metrics import ApertureMetrics
from services.aperture.mutable import Mutable
from services.aperture.reader import Reader
from services.aperture.settled_cache import SettledCache
from services.aperture.spill import SpillLimits
from services.aperture.store import ApertureStore
from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import Store


@dataclass(frozen=True)
class Parts:
    """What reads, and what is fed. `view.load()` before either is used."""

    view: ApertureView
    reader: Reader
    freezer: Freezer
    mutable: Mutable


def make_parts(
    config: ApertureConfig, *, store: Store, owned: OwnedShards, metrics: ApertureMetrics
) -> Parts:
    """Everything between the store and the servicer. Raises ConfigFaults when the store's buckets differ."""
    keys = ApertureStore(store, owned, bucket_s=config.bucket_s)
    mutable = Mutable(keys.generations())
    freezer = Freezer(
        keys,
        metrics,
        shards=owned.shards.tolist(),
        slice_buckets=config.freeze_buckets_max,
        slice_bytes=config.freeze_bytes_max,
        freeze_after_s=config.freeze_after_hours * 3600,
        retention_s=config.retention_s,
    )
    limits = SpillLimits(
        mutable_bytes=config.mutable_bytes_max,
        lane_bytes=config.lane_bytes_max,
        lane_pieces=config.lane_pieces_max,
        pieces=config.spill_pieces_max,
        size_bytes=config.spill_bytes_max,
    )
    view = ApertureView(
        store=keys,
        mutable=mutable,
        freezer=freezer,
        limits=limits,
        retention_s=config.retention_s,
        freeze_every_batches=config.freeze_every_batches,
        metrics=metrics,
    )
    reader = Reader(
        store=keys,
        mutable=mutable,
        cache=SettledCache(bytes_max=config.settled_cache_bytes),
        user_rows_max=config.user_rows_max,
        metrics=metrics,
    )
    return Parts(view, reader, freezer, mutable)
