"""What serving declares, read from the same files that the services read.

A model is right only for the declarations it was trained with: signals, counters, half-lives, features.
Environment overrides count as they do for the services. Raises ConfigFaults with every fault of a file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from services.chassis.config import load_config
from services.counter.config import CounterConfig
from services.counter.counters import Counters
from services.polaris.config import PolarisConfig
from services.polaris.light_score import LightScale
from services.realpin.config import RealPinConfig
from services.realpin.signals import SignalSet
from services.rockstore.config import RockstoreConfig
from services.rockstore.schema import Kind, Schema, Schemas
from services.scorpion.feature_file import load_feature_list, with_factors
from services.scorpion.features import FeatureList


@dataclass(frozen=True)
class Declared:
    """Everything that gives a feature its value."""

    features: FeatureList
    signals: SignalSet
    counters: Counters
    light: LightScale
    quality_default: float
    """Quality of a pin that was saved without one."""
    schemas: Schemas

    @property
    def pin_schema(self) -> Schema | None:
        """The schema that pin rows are answered under; None when none is declared."""
        return self.schemas.newest(Kind.PIN)

    def with_factors(self, factors_dir: Path) -> Self:
        """Able to compute features of item factors, too. Raises ConfigFaults when those are not there."""
        return replace(self, features=with_factors(self.features, factors_dir, name="features.toml"))

    @classmethod
    def read(cls, config_dir: Path, env: Mapping[str, str] | None = None) -> Self:
        """From a folder of `<service>.toml` files. Raises ConfigFaults."""
        env = os.environ if env is None else env
        counter = load_config(
            CounterConfig, path=_file(config_dir, "counter"), env=env, prefix="FEEDMESH_COUNTER"
        )
        polaris = load_config(
            PolarisConfig, path=_file(config_dir, "polaris"), env=env, prefix="FEEDMESH_POLARIS"
        )
        realpin = load_config(
            RealPinConfig, path=_file(config_dir, "realpin"), env=env, prefix="FEEDMESH_REALPIN"
        )
        rockstore = load_config(
            RockstoreConfig, path=_file(config_dir, "rockstore"), env=env, prefix="FEEDMESH_ROCKSTORE"
        )
        return cls(
            features=load_feature_list(config_dir / "features.toml"),
            signals=SignalSet.from_config(realpin.signals),
            counters=Counters([counter_.build() for counter_ in counter.counters]),
            light=LightScale(half_life_s=polaris.half_life_s, epoch_s=polaris.epoch_s),
            quality_default=polaris.quality_default,
            schemas=Schemas(schema.build() for schema in rockstore.schemas),
        )


def _file(config_dir: Path, service: str) -> Path:
    return config_dir / f"{service}.toml"
