"""How a world is drawn from its seed: creators with a style, boards with a theme, pins, follows.

Owns every chance in the world; one numpy generator per table, so that a change in one table leaves the others
as they were. Main path: `make_world → boards → pins → follows`. Refuses: what the audience does later
(`audience.py`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.chassis.ids import mix64_array
from services.cli.demo import names
from services.cli.demo.catalogue import FAMILIES, INTERESTS, LANGUAGES, PALETTE_NAMES, interest_index, title
from services.cli.demo.pictures import COMPOSITIONS, MOODS, MOTIFS, PALETTES
from services.cli.demo.taste import Tastes, make_tastes
from services.cli.demo.world import DAY_MS, Boards, FollowKind, Follows, People, Pins, Scale, World

# 15 November 2026, 12:00 UTC: a fixed "now", so that a world without a clock is the same every day.
DEFAULT_NOW_MS: Final = 1_794_744_000_000
SEED_MAX: Final = 2**31 - 1
THEME_SHARE: Final = 0.7
_ENGLISH_SHARE: Final = 0.82
_KINDS: Final = ("person", "board", "pin", "interest")
# A third of the follows happen while the audience is already looking.
_EARLY_FOLLOWS: Final = 0.67


def make_world(seed: int, scale: Scale | None = None, *, now_ms: int = DEFAULT_NOW_MS) -> World:
    """The world of a seed (0 to 2^31 − 1). Pins lie in the `span_days` before `now_ms`.

    Raises: ValueError when the seed is out of range.
    """
    if not 0 <= seed <= SEED_MAX:
        raise ValueError(f"a world's seed is 0 to {SEED_MAX}, not {seed}")
    scale = scale or Scale()
    streams = [np.random.Generator(np.random.PCG64([seed, table])) for table in range(5)]
    span_ms = scale.span_days * DAY_MS
    tastes = make_tastes(streams[0], people=scale.people, now_ms=now_ms, span_ms=span_ms)
    people = _people(streams[1], seed=seed, scale=scale)
    boards = _boards(streams[2], seed=seed, now_ms=now_ms, people=people, scale=scale, tastes=tastes)
    pins = _pins(streams[3], seed=seed, now_ms=now_ms, boards=boards, scale=scale, tastes=tastes)
    return World(
        seed=seed,
        scale=scale,
        now_ms=now_ms,
        people=people,
        boards=boards,
        pins=pins,
        follows=_follows(streams[4], now_ms=now_ms, boards=boards, pins=pins, scale=scale, tastes=tastes),
        interest_ids=_ids(seed=seed, kind="interest", count=len(INTERESTS)),
        interest_names=INTERESTS,
        tastes=tastes,
    )


def _ids(*, seed: int, kind: str, count: int) -> NDArray[np.uint64]:
    """Ids below 2^63: the mixed (seed, kind, counter). A bijection before the last shift; 0 becomes 1."""
    low = np.arange(1, count + 1, dtype=np.uint64)
    high = np.uint64((seed << 33) | (_KINDS.index(kind) << 30))
    ids: NDArray[np.uint64] = np.maximum(mix64_array(low | high) >> np.uint64(1), np.uint64(1))
    return ids


def _people(rng: np.random.Generator, *, seed: int, scale: Scale) -> People:
    count = scale.people
    handles = names.handles(rng.integers(0, 2**31, count).tolist())
    language = np.where(rng.random(count) < _ENGLISH_SHARE, 0, rng.integers(1, len(LANGUAGES), count))
    return People(
        ids=_ids(seed=seed, kind="person", count=count),
        keys=handles,
        names=handles,
        language=language.astype(np.uint8),
        is_creator=np.arange(count) < scale.creators,
        saves_board=(scale.boards + np.arange(count)).astype(np.int32),
        activity=(rng.gamma(3.0, 1 / 3.0, count) * 0.9 + 0.1).astype(np.float32),
    )


def _boards(
    rng: np.random.Generator, *, seed: int, now_ms: int, people: People, scale: Scale, tastes: Tastes
) -> Boards:
    """Every creator owns one themed board at least; the theme follows the creator's own taste."""
    extra = rng.integers(0, scale.creators, scale.boards - scale.creators)
    owner = np.sort(np.concatenate([np.arange(scale.creators), extra]))
    motif = (1.6 * tastes.motif[owner] + rng.gumbel(0, 1.2, (scale.boards, len(MOTIFS)))).argmax(axis=1)
    palette = (2.0 * tastes.palette[owner] + rng.gumbel(0, 0.7, (scale.boards, len(PALETTE_NAMES)))).argmax(
        axis=1
    )
    free = rng.random(scale.boards)
    theme_motif = np.where(free < 0.12, -1, motif)
    theme_palette = np.where((free >= 0.12) & (free < 0.55), -1, palette)
    titles = [
        _board_title(motif=m, palette=p, language=LANGUAGES[code], choice=k)
        for m, p, code, k in zip(
            theme_motif.tolist(),
            theme_palette.tolist(),
            people.language[owner].tolist(),
            rng.integers(0, 100, scale.boards).tolist(),
            strict=True,
        )
    ]
    titles += [f"Saved by {name}" for name in people.names]
    seen: dict[str, int] = {}
    keys = [names.unique(names.slug(text), seen, joint="-") for text in titles]
    owner_all = np.concatenate([owner, np.arange(scale.people)]).astype(np.int32)
    none = np.full(scale.people, -1)
    age = DAY_MS * (scale.span_days + 1 + rng.random(len(keys)) * 60)
    return Boards(
        ids=_ids(seed=seed, kind="board", count=len(keys)),
        keys=keys,
        titles=titles,
        owner=owner_all,
        theme_motif=np.concatenate([theme_motif, none]).astype(np.int16),
        theme_palette=np.concatenate([theme_palette, none]).astype(np.int16),
        language=people.language[owner_all],
        created_ms=(now_ms - age).astype(np.int64),
        themed_count=scale.boards,
    )


def _board_title(*, motif: int, palette: int, language: str, choice: int) -> str:
    tint = PALETTE_NAMES[palette] if palette >= 0 else ""
    if motif < 0:
        forms = {"de": "Alles in {}", "fr": "Tout en {}", "es": "Todo en {}"}
        english = ("All in {}", "{} days", "The {} wall")[choice % 3]
        made = forms.get(language, english).format(tint)
        return made[0].upper() + made[1:]
    word = FAMILIES[MOTIFS[motif]].name(language)
    if tint:
        return (f"{word} in {tint}", f"{word}, {tint}")[language != "en"]
    endings = (
        ("", " I keep", " and more", ", collected", " club") if language == "en" else ("", " +", " & Co.")
    )
    return word + endings[choice % len(endings)]


def _pins(
    rng: np.random.Generator, *, seed: int, now_ms: int, boards: Boards, scale: Scale, tastes: Tastes
) -> Pins:
    """In order of creation; THEME_SHARE of a board's pins keep its theme, the rest are its owner's whims."""
    share = rng.lognormal(0, 0.7, scale.boards)
    more = rng.choice(scale.boards, scale.pins - scale.boards, p=share / share.sum())
    board = rng.permutation(np.concatenate([np.arange(scale.boards), more]))
    owner = boards.owner[board]
    themed = rng.random(scale.pins) < THEME_SHARE
    own_motif = _whim(rng, tastes.motif[owner], strength=0.9)
    own_palette = _whim(rng, tastes.palette[owner], strength=1.4)
    motif = np.where(themed & (boards.theme_motif[board] >= 0), boards.theme_motif[board], own_motif)
    palette = np.where(themed & (boards.theme_palette[board] >= 0), boards.theme_palette[board], own_palette)
    mood = _whim(rng, tastes.mood[owner], strength=1.6)
    composition = rng.integers(0, len(COMPOSITIONS), scale.pins)
    skill = rng.beta(4, 4, scale.creators)[owner]
    quality = np.clip(0.45 * skill + 0.55 * rng.beta(2.2, 2.2, scale.pins), 0.01, 0.99)
    created = np.sort(now_ms - (rng.random(scale.pins) * scale.span_days * DAY_MS).astype(np.int64) - 1)
    language = boards.language[board]
    wording = rng.integers(0, 2**31, scale.pins)
    titles = [
        title(motif=MOTIFS[m], palette=PALETTE_NAMES[p], mood=MOODS[o], language=LANGUAGES[code], choice=c)
        for m, p, o, code, c in zip(
            motif.tolist(), palette.tolist(), mood.tolist(), language.tolist(), wording.tolist(), strict=True
        )
    ]
    return Pins(
        ids=_ids(seed=seed, kind="pin", count=scale.pins),
        keys=[f"pin-{k:06d}" for k in range(1, scale.pins + 1)],
        titles=titles,
        board=board.astype(np.int32),
        owner=owner.astype(np.int32),
        motif=motif.astype(np.uint8),
        palette=palette.astype(np.uint8),
        composition=composition.astype(np.uint8),
        mood=mood.astype(np.uint8),
        picture_seed=rng.integers(0, 2**32, scale.pins, dtype=np.uint32),
        interests=_interests(rng, motif=motif, palette=palette),
        language=language,
        quality=quality.astype(np.float32),
        created_ms=created,
    )


def _whim(rng: np.random.Generator, weights: NDArray[np.float32], *, strength: float) -> NDArray[np.intp]:
    """One draw per row, more often where the weight is high (softmax of strength · weight)."""
    picks: NDArray[np.intp] = (strength * weights + rng.gumbel(0, 1, weights.shape)).argmax(axis=1)
    return picks


def _interests(
    rng: np.random.Generator, *, motif: NDArray[np.intp], palette: NDArray[np.intp]
) -> NDArray[np.int16]:
    """The subject always; a wider subject mostly; the colours often."""
    near = np.array([interest_index(FAMILIES[m].interests[0]) for m in MOTIFS])
    wide = np.array([interest_index(FAMILIES[m].interests[1]) for m in MOTIFS])
    tone = np.array([interest_index(PALETTES[p].family) for p in PALETTE_NAMES])
    chance = rng.random((2, len(motif)))
    second = np.where(chance[0] < 0.8, wide[motif], -1)
    third = np.where(chance[1] < 0.6, tone[palette], -1)
    return np.stack([near[motif], second, third], axis=1).astype(np.int16)


def _follows(
    rng: np.random.Generator, *, now_ms: int, boards: Boards, pins: Pins, scale: Scale, tastes: Tastes
) -> Follows:
    """Mostly what fits the taste, but not only: the noise is as large as the taste."""
    fit = _board_fit(boards=boards, pins=pins, tastes=tastes)
    first = np.searchsorted(boards.owner[: boards.themed_count], np.arange(scale.creators))
    fit_owner = np.add.reduceat(fit, first, axis=1) / np.diff([*first, boards.themed_count])
    counts = np.clip(rng.poisson(scale.follows, scale.people), 6, 2 * scale.follows)
    parts: list[tuple[NDArray[np.intp], int, NDArray[np.intp]]] = []
    wants = (
        (FollowKind.BOARD, fit, 0.66),
        (FollowKind.USER, fit_owner, 0.2),
        (FollowKind.INTEREST, _interest_fit(tastes), 0.14),
    )
    own = {FollowKind.BOARD: boards.owner[: boards.themed_count], FollowKind.USER: np.arange(scale.creators)}
    for kind, score, part in wants:
        centred = (score - score.mean(axis=1, keepdims=True)) / (score.std(axis=1, keepdims=True) + 1e-9)
        noisy = 1.4 * centred + rng.gumbel(0, 1, score.shape)
        if kind in own:
            noisy[own[kind], np.arange(score.shape[1])] = -np.inf
        want = np.minimum(np.maximum(1, np.rint(counts * part)).astype(np.intp), max(1, score.shape[1] // 2))
        ranked = np.argsort(-noisy, axis=1, kind="stable")[:, : int(want.max())]
        taken = np.arange(ranked.shape[1]) < want[:, None]
        taken &= np.isfinite(np.take_along_axis(noisy, ranked, axis=1))
        person, column = np.nonzero(taken)
        parts.append((person, int(kind), ranked[person, column]))
    person = np.concatenate([p for p, _, _ in parts])
    kinds = np.concatenate([np.full(len(p), k) for p, k, _ in parts])
    target = np.concatenate([t for _, _, t in parts])
    # Days before now: some weeks ago for most, during the simulated weeks for the others.
    early = rng.random(len(person)) < _EARLY_FOLLOWS
    days = np.where(
        early, scale.span_days * (1 + rng.random(len(person))), scale.span_days * rng.random(len(person))
    )
    time_ms = (now_ms - np.maximum(days, 0.02) * DAY_MS).astype(np.int64)
    order = np.lexsort((time_ms, person))
    return Follows(
        person=person[order].astype(np.int32),
        kind=kinds[order].astype(np.uint8),
        target=target[order].astype(np.int32),
        time_ms=time_ms[order],
    )


def _board_fit(*, boards: Boards, pins: Pins, tastes: Tastes) -> NDArray[np.float64]:
    """Mean taste of each person for the pins of each themed board: float64 (people, themed boards)."""
    count = boards.themed_count
    size = np.bincount(pins.board, minlength=count)[:count]

    def mix(column: NDArray[np.uint8], width: int) -> NDArray[np.float64]:
        cells = np.bincount(pins.board.astype(np.int64) * width + column, minlength=count * width)
        shares: NDArray[np.float64] = cells.reshape(count, width) / size[:, None]
        return shares

    return (
        tastes.motif @ mix(pins.motif, len(MOTIFS)).T
        + tastes.palette @ mix(pins.palette, len(PALETTE_NAMES)).T
        + tastes.mood @ mix(pins.mood, len(MOODS)).T
    )


def _interest_fit(tastes: Tastes) -> NDArray[np.float64]:
    """Taste of each person for each interest, by the motifs and palettes that carry it."""
    carries = np.zeros((len(MOTIFS) + len(PALETTE_NAMES), len(INTERESTS)))
    for k, motif in enumerate(MOTIFS):
        for rank, interest in enumerate(FAMILIES[motif].interests):
            carries[k, interest_index(interest)] = 1.0 - 0.4 * rank
    for k, palette in enumerate(PALETTE_NAMES):
        carries[len(MOTIFS) + k, interest_index(PALETTES[palette].family)] = 1.0
    carries /= carries.sum(axis=0)
    weights = np.concatenate([tastes.motif, tastes.palette], axis=1)
    fit: NDArray[np.float64] = weights @ carries + tastes.interest
    return fit
