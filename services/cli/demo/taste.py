"""Hidden tastes: what each simulated person likes, and how likely that makes an engagement.

Owns the one formula of the audience. A person has a weight per motif, palette, mood and interest, all in
log-odds; some people's motifs drift to others over some days. Refuses: what a model may see (nothing here
leaves by an RPC). `audience.py` draws actions from it; benchmarks use `taste_probability` as ground truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from services.cli.demo.catalogue import FAMILIES, INTERESTS, KINS, PALETTE_NAMES
from services.cli.demo.pictures import MOODS, MOTIFS, PALETTES

if TYPE_CHECKING:
    from services.cli.demo.world import World

# Log-odds. The bias sets the base rate (about 9 % of what the audience sees), the rest the spread.
BIAS: Final = -4.35
TASTE_WEIGHT: Final = 1.15
QUALITY_WEIGHT: Final = 2.6
DRIFT_MS: Final = 4 * 86_400_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tastes:
    """Weights in log-odds, one row per person.

    motif, later_motif: float32 (people, motifs); palette: (people, palettes); mood: (people, moods);
    interest: (people, interests). drift_ms: int64, when `motif` begins to turn into `later_motif`; 0 = never.
    """

    motif: NDArray[np.float32]
    later_motif: NDArray[np.float32]
    palette: NDArray[np.float32]
    mood: NDArray[np.float32]
    interest: NDArray[np.float32]
    drift_ms: NDArray[np.int64]


def make_tastes(rng: np.random.Generator, *, people: int, now_ms: int, span_ms: int) -> Tastes:
    """Tastes for `people` persons; a quarter of them drift, somewhere in the span before `now_ms`."""
    motif, later = _motif_taste(rng, people), _motif_taste(rng, people)
    palette = rng.normal(0, 0.22, (people, len(PALETTE_NAMES)))
    tones = sorted({p.family for p in PALETTES.values()})
    tone_of = np.array([tones.index(PALETTES[name].family) for name in PALETTE_NAMES])
    palette += rng.normal(0, 0.3, (people, len(tones)))[:, tone_of]
    rows = np.arange(people)[:, None]
    palette[rows, _distinct(rng, people, palette.shape[1], 2)] += 1.0
    palette[rows, _distinct(rng, people, palette.shape[1], 2)] -= 0.6
    mood = rng.normal(0, 0.15, (people, len(MOODS)))
    mood[np.arange(people), rng.integers(0, len(MOODS), people)] += 0.75
    interest = rng.normal(0, 0.25, (people, len(INTERESTS)))
    start = now_ms - (rng.random(people) * 0.7 * span_ms).astype(np.int64)
    drift = np.where(rng.random(people) < 0.25, start, 0)
    return Tastes(
        motif=motif.astype(np.float32),
        later_motif=np.where(drift[:, None] > 0, later, motif).astype(np.float32),
        palette=palette.astype(np.float32),
        mood=mood.astype(np.float32),
        interest=interest.astype(np.float32),
        drift_ms=drift.astype(np.int64),
    )


def _motif_taste(rng: np.random.Generator, people: int) -> Floats:
    """One or two kins that a person likes, three favourites, two dislikes, and noise."""
    kin_of = np.array([KINS.index(FAMILIES[motif].kin) for motif in MOTIFS])
    kin = rng.normal(-0.15, 0.25, (people, len(KINS)))
    rows = np.arange(people)
    kin[rows, rng.integers(0, len(KINS), people)] += 1.1
    kin[rows, rng.integers(0, len(KINS), people)] += 0.6
    weights: Floats = kin[:, kin_of] + rng.normal(0, 0.3, (people, len(MOTIFS)))
    # Favourites are drawn mostly where the kin is liked: sorted by kin plus noise.
    order = np.argsort(-(weights + rng.gumbel(0, 0.5, weights.shape)), axis=1)
    weights[rows[:, None], order[:, :3]] += (1.5, 1.2, 0.9)
    weights[rows[:, None], order[:, -3:]] -= 0.8
    return weights


def _distinct(rng: np.random.Generator, rows: int, columns: int, count: int) -> NDArray[np.intp]:
    return np.argsort(rng.random((rows, columns)), axis=1)[:, :count]


def motif_weights(
    tastes: Tastes, persons: NDArray[np.intp], motifs: NDArray[np.intp], times_ms: NDArray[np.int64]
) -> Floats:
    """The motif part of the log-odds for each (person, motif, time), with the drift applied."""
    start = tastes.drift_ms[persons]
    share = np.clip((times_ms - start) / DRIFT_MS, 0.0, 1.0) * (start > 0)
    weights: Floats = (
        tastes.motif[persons, motifs] * (1 - share) + tastes.later_motif[persons, motifs] * share
    )
    return weights


def engagement_logit(
    world: World, persons: NDArray[np.intp], pins: NDArray[np.intp], times_ms: NDArray[np.int64]
) -> Floats:
    """Log-odds of a positive action for each (person, pin, time): float64 of the common length."""
    tastes, table = world.tastes, world.pins
    interests = table.interests[pins]
    liked = np.where(interests >= 0, tastes.interest[persons[:, None], interests], 0.0).sum(axis=1)
    logit: Floats = (
        BIAS
        + TASTE_WEIGHT
        * (
            motif_weights(tastes, persons, table.motif[pins].astype(np.intp), times_ms)
            + tastes.palette[persons, table.palette[pins]]
            + tastes.mood[persons, table.mood[pins]]
            + liked
        )
        + QUALITY_WEIGHT * (table.quality[pins].astype(np.float64) - 0.5)
    )
    return logit


def taste_probability(
    world: World, person_index: int, pin_indices: NDArray[np.intp], *, time_ms: int | None = None
) -> Floats:
    """True probability of a positive action (close-up, click or save) on each pin, without position effect.

    float64, one per entry of `pin_indices`; at `time_ms`, or at the world's end when None. No noise: it is
    what an oracle that knows the taste would rank by.
    """
    pins = np.asarray(pin_indices, dtype=np.intp)
    persons = np.full(pins.shape, person_index, dtype=np.intp)
    times = np.full(pins.shape, world.now_ms if time_ms is None else time_ms, dtype=np.int64)
    return sigmoid(engagement_logit(world, persons, pins, times))


def sigmoid(x: Floats) -> Floats:
    return 1.0 / (1.0 + np.exp(-x))


def describe_taste(world: World, person: int) -> str:
    """One line for people: `likes cats and moons, in dusk and indigo, at night; lately turning to cacti`."""
    tastes = world.tastes
    names = _top(tastes.motif[person], MOTIFS, count=3, least=0.9)
    colours = _top(tastes.palette[person], PALETTE_NAMES, count=2, least=0.5)
    mood = MOODS[int(tastes.mood[person].argmax())]
    manner = {"calm": "calm", "bold": "bold", "night": "at night", "dawn": "at dawn"}[mood]
    text = f"likes {_joined(names)}, in {_joined(colours)}, {manner}"
    if 0 < tastes.drift_ms[person] < world.now_ms:
        later = [m for m in _top(tastes.later_motif[person], MOTIFS, count=3, least=0.9) if m not in names]
        if later:
            text += f"; lately turning to {_joined(later)}"
    return text


def _top(weights: NDArray[np.float32], names: tuple[str, ...], *, count: int, least: float) -> list[str]:
    """The best `count` names above `least`; the best one even when none is above."""
    order = np.argsort(-weights, kind="stable")[:count]
    return [names[i] for rank, i in enumerate(order) if rank == 0 or weights[i] >= least]


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
