"""Reads the declared feature list from TOML (`deploy/config/features.toml`) and checks every line of it.

    [[feature]]
    name = "save_rate"
    source = "ratio"                  # or pin.<feature>, board.<feature>, count.<counter>, ...
    of = "saves"
    per = "impressions"
    smoothing = 20.0

Refuses, with all faults at once (`ConfigFaults`): unknown keys and sources, names that clash, numbers that
would let a NaN out, and categories of what is a quantity. The same file is read by serving and by training.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from services.chassis.errors import ConfigFaults
from services.scorpion.declared_feature import COLUMN_SOURCES
from services.scorpion.factors import Factors
from services.scorpion.factors.files import VERSION, BadFactors, versions_of
from services.scorpion.feature_kernels import CODE_MAX
from services.scorpion.features import (
    CONTEXT_COLUMNS,
    PIN,
    Feature,
    FeatureList,
    Folding,
    Reduce,
    Source,
    Transform,
    ValueType,
)

E = TypeVar("E", Transform, Reduce, ValueType)

FEATURES_MAX = 256
"""Most features of one list: they are the width of every matrix."""

MATCH_MAX = 16
"""Most id columns that one feature looks up in a signal."""

MISSING_CATEGORY = -1.0
"""Default of a category where none is declared; LightGBM takes a negative code as missing."""

# LightGBM writes names into a text format, in which others have a meaning.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NAMED = {"of": "counter", "per": "counter", "signal": "signal of pins", "version": "version of the factors"}
_KEYS_ALWAYS = {"name", "source", "transform", "default", "type"}
_SOURCES = ", ".join(f"{source}.*" for source in Source if source is not Source.RATIO)
# The others are quantities: a set of ages or counts says nothing that a threshold would not say better.
_CATEGORY_SOURCES = {*COLUMN_SOURCES, Source.CONTEXT}
_KEYS_OF = {
    Source.RATIO: {"of", "per", "smoothing"},
    Source.SIGNAL: {"match", "reduce", "id"},
    Source.FACTORS: {"version", "signal"},
}


def load_feature_list(path: Path, *, factors_dir: Path | None = None) -> FeatureList:
    """The list in the file; with `factors_dir`, able to compute the features of item factors that lie there.

    Raises ConfigFaults with every fault. Then blocks for as long as reading the factors once takes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as fault:
        raise ConfigFaults([f"{path}: cannot be read: {fault.strerror} (expected a feature list)"]) from None
    features = parse_feature_list(text, name=str(path))
    return features if factors_dir is None else with_factors(features, factors_dir, name=str(path))


def with_factors(features: FeatureList, factors_dir: Path, *, name: str = "features.toml") -> FeatureList:
    """The list with the factors that it names. Raises ConfigFaults with all that cannot be used."""
    opened: dict[Folding, Factors] = {}
    faults = []
    for folding in features.foldings:
        folder = factors_dir / folding.of / folding.version
        try:
            opened[folding] = Factors.open(folder)
        except BadFactors as fault:
            there = ", ".join(versions_of(factors_dir, folding.of)[-3:]) or "none"
            faults.append(
                f"{name}: factors.{folding.of} version {folding.version} cannot be used: {fault.message} "
                f"(there are {there} in {factors_dir / folding.of}; feedmesh factors build makes one)"
            )
    if faults:
        raise ConfigFaults(faults)
    return features.with_factors(opened)


def parse_feature_list(text: str, *, name: str = "features.toml") -> FeatureList:
    """The list in the text; `name` is what faults call it. Raises ConfigFaults with every fault."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise ConfigFaults([f"{name}: is not TOML: {fault}"]) from None
    declared = tables.pop("feature", [])
    faults = [f"{name}: {key} is not known (expected [[feature]] only)" for key in tables]
    if not isinstance(declared, list) or not 1 <= len(declared) <= FEATURES_MAX:
        raise ConfigFaults([*faults, f"{name}: expected 1 to {FEATURES_MAX} [[feature]] tables"])
    features: dict[str, Feature] = {}
    for number, table in enumerate(declared, start=1):
        if not isinstance(table, Mapping):
            faults.append(f"{name}: feature number {number} is {table!r} (expected a table)")
            continue
        found: list[str] = []
        feature = _feature(table, found)
        if feature is not None and feature.name in features:
            found.append("another feature has this name")
        faults.extend(f"{name}: feature {table.get('name', f'number {number}')}: {fault}" for fault in found)
        if feature is not None:
            features[feature.name] = feature
    if faults:
        raise ConfigFaults(faults)
    return FeatureList(tuple(features.values()))


def _feature(table: Mapping[str, Any], faults: list[str]) -> Feature | None:
    """The feature, or None and at least one fault."""
    before = len(faults)
    source, of = _source(table, faults)
    if source is None:
        return None
    clip = isinstance(table.get("transform"), str) and table["transform"] == Transform.CLIP
    known = _KEYS_ALWAYS | _KEYS_OF.get(source, set()) | ({"low", "high"} if clip else set())
    faults.extend(f"{key} is not known for {table['source']}" for key in table if key not in known)
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        faults.append(f"name = {name!r} must be lower-case letters, digits and _, at most 64")
        return None
    transform = _one_of(Transform, table, "transform", faults)
    type_ = _one_of(ValueType, table, "type", faults)
    match_, reduce, signal_id = _matching(table, faults) if source is Source.SIGNAL else ((), Reduce.SUM, 0)
    feature = Feature(
        name=name,
        source=source,
        of=of,
        per=_text(table, "per", _NAME, faults) if source is Source.RATIO else "",
        smoothing=_number(table, "smoothing", faults) if source is Source.RATIO else 0.0,
        match=match_,
        reduce=reduce,
        signal_id=signal_id,
        version=_text(table, "version", VERSION, faults) if source is Source.FACTORS else "",
        signal=_text(table, "signal", _NAME, faults) if source is Source.FACTORS else "",
        transform=transform,
        low=_number(table, "low", faults) if clip else 0.0,
        high=_number(table, "high", faults) if clip else 0.0,
        default=_number(
            table, "default", faults, absent=0.0 if type_ is ValueType.FLOAT else MISSING_CATEGORY
        ),
        type=type_,
    )
    _check_numbers(feature, faults)
    _check_type(feature, faults)
    return feature if len(faults) == before else None


def _source(table: Mapping[str, Any], faults: list[str]) -> tuple[Source | None, str]:
    text = table.get("source")
    kind, _, of = text.partition(".") if isinstance(text, str) else ("", "", "")
    if text == Source.RATIO:
        return Source.RATIO, _text(table, "of", _NAME, faults)
    if kind not in set(Source) or kind == Source.RATIO or not _NAME.fullmatch(of):
        faults.append(f"source = {text!r} must be one of {_SOURCES} or ratio")
        return None, ""
    source = Source(kind)
    if source is Source.CONTEXT and of not in CONTEXT_COLUMNS:
        faults.append(f"source = {text!r} must be one of {', '.join(f'{kind}.{c}' for c in CONTEXT_COLUMNS)}")
        return None, ""
    return source, of


def _matching(table: Mapping[str, Any], faults: list[str]) -> tuple[tuple[str, ...], Reduce, int]:
    """What a signal is matched with: the pin's id columns, or one fixed id."""
    columns, fixed = table.get("match"), table.get("id")
    if (columns is None) == (fixed is None):
        faults.append(f"a signal needs either match = [id columns, or {PIN!r}] or id = a number")
        return (), Reduce.SUM, 0
    if fixed is not None:
        if "reduce" in table:
            faults.append("reduce is of no use beside id: one id has one value")
        if not isinstance(fixed, int) or isinstance(fixed, bool) or not 0 < fixed < 1 << 64:
            faults.append(f"id = {fixed!r} must be a whole number from 1 on")
            return (), Reduce.SUM, 0
        return (), Reduce.SUM, fixed
    named = columns if isinstance(columns, list) else []
    good = [column for column in named if isinstance(column, str) and _NAME.fullmatch(column)]
    if len(good) != len(named) or not 1 <= len(set(good)) == len(good) <= MATCH_MAX:
        faults.append(f"match = {columns!r} must be 1 to {MATCH_MAX} names of id columns")
    return tuple(good), _one_of(Reduce, table, "reduce", faults), 0


def _check_numbers(feature: Feature, faults: list[str]) -> None:
    if feature.source is Source.RATIO and feature.smoothing <= 0:
        faults.append(f"smoothing = {feature.smoothing} must be greater than 0, or 0/0 has no value")
    if feature.transform is Transform.CLIP and feature.low >= feature.high:
        faults.append(f"low = {feature.low} must be less than high = {feature.high}")
    if feature.transform is Transform.LOG1P and feature.default <= -1:
        faults.append(f"default = {feature.default} must be greater than -1 for log1p")


def _check_type(feature: Feature, faults: list[str]) -> None:
    if feature.type is ValueType.FLOAT:
        return
    if feature.source not in _CATEGORY_SOURCES:
        kinds = ", ".join(f"{source}.*" for source in Source if source in _CATEGORY_SOURCES)
        faults.append(f"type = 'category' is for codes, which are in {kinds}")
    if feature.transform is not Transform.IDENTITY:
        faults.append(f"transform = {str(feature.transform)!r} is of no use for a category: codes are names")
    if not (feature.default.is_integer() and MISSING_CATEGORY <= feature.default <= CODE_MAX):
        faults.append(f"default = {feature.default} must be a whole number from -1 to {CODE_MAX}")


def _number(table: Mapping[str, Any], key: str, faults: list[str], *, absent: float | None = None) -> float:
    value = table.get(key, absent)
    # The matrix is float32: a number beyond its range would come out as infinity.
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or abs(value) > 3e38:
        faults.append(f"{key} = {value!r} must be a finite number")
        return 1.0
    return float(value)


def _text(table: Mapping[str, Any], key: str, pattern: re.Pattern[str], faults: list[str]) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        faults.append(f"{key} = {value!r} must be the name of a {_NAMED[key]}")
        return ""
    return value


def _one_of(kind: type[E], table: Mapping[str, Any], key: str, faults: list[str]) -> E:
    first = next(iter(kind))
    value = table.get(key, first)
    if not isinstance(value, str) or value not in set(kind):
        faults.append(f"{key} = {value!r} must be one of {', '.join(kind)}")
        return first
    return kind(value)
