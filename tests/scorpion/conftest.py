"""A small real model, trained once, and what the tests of Scorpion share."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.registry import CollectorRegistry

from services.scorpion.feature_file import load_feature_list
from services.scorpion.features import FeatureList
from services.scorpion.metrics import ScorpionMetrics
from services.scorpion.training import TrainingOptions, train
from tests.scorpion.synthetic import Trained, synthetic


@pytest.fixture(scope="session")
def features() -> FeatureList:
    """The default list."""
    return load_feature_list(Path(__file__).parents[2] / "deploy/config/features.toml")


@pytest.fixture(scope="session")
def trained(features: FeatureList) -> Trained:
    """A model of 20 small trees."""
    data = synthetic(features)
    options = TrainingOptions(tree_count=20, leaves=7, sample_rows=32, threads=1)
    return Trained(features, data, options, train(features, data, options))


@pytest.fixture
def metrics() -> ScorpionMetrics:
    """Metrics of a registry of their own."""
    return ScorpionMetrics(CollectorRegistry())
