"""What `feedmesh train` shows: the comparison on the held-out days, and what the model looks at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from services.cli.train.judging import BASELINES, LOGGED, MODEL, SERVING
from services.cli.train.times import moment, span
from services.cli.train.trained import Outcome

_FEATURES_SHOWN: Final = 8
_GRADED: Final = 2


def print_outcome(console: Console, outcome: Outcome) -> None:
    """All of it, for people."""
    card = outcome.card
    console.print(rows_text(card), highlight=False)
    console.print(metrics_table(card))
    console.print(gain_text(card["gain"]), style="dim", highlight=False)
    if card.get("knowing_features"):
        console.print(
            f"[yellow]{', '.join(card['knowing_features'])} may know the answers[/]: learned from saves of "
            "the days that are judged here, so worth less than it seems (docs/models.md)",
            highlight=False,
        )
    if outcome.kept_back:
        stays = f"; {outcome.serving_name} goes on serving" if outcome.serving_name else ""
        console.print(
            f"[yellow]not promoted[/]: {outcome.kept_back}{stays}. The model is in {outcome.folder}",
            soft_wrap=True,
            highlight=False,
        )
        return
    refused = card["verdict"]["refused"]
    if refused:
        console.print(
            f"[yellow]forced[/] ({card['verdict']['forced']}): {refused}", soft_wrap=True, highlight=False
        )
    console.print(f"[green]promoted[/] {outcome.name}: {outcome.folder}", soft_wrap=True)


def as_document(outcome: Outcome) -> dict[str, Any]:
    """The same for machines."""
    card = outcome.card
    return {
        "model": outcome.name,
        "folder": str(outcome.folder),
        "promoted": not outcome.kept_back,
        "kept_back": outcome.kept_back,
        "verdict": card["verdict"],
        "origin": card["origin"],
        "objective": card["objective"],
        "shown": card["shown"],
        "training": card["training"],
        "holdout": card["holdout"],
        "labels": card["labels"],
        "metrics": card["metrics"],
        "serving": {"model": outcome.serving_name, outcome.ndcg_name: outcome.serving_ndcg},
        "gain": card["gain"],
        "unknown_features": card["unknown_features"],
        "knowing_features": card["knowing_features"],
    }


def metrics_table(card: Mapping[str, Any]) -> Table:
    """The model beside the others, as the card has them."""
    k, metrics = card["options"]["ndcg_k"], card["metrics"]
    metric = f"ndcg_at_{k}"
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("ranking", overflow="fold")
    for column in (f"NDCG@{k}", "AUC", "model is", "difference, 95% interval"):
        table.add_column(column, justify="right", no_wrap=True)
    mine = metrics[MODEL][metric]
    _add(table, "[bold]model[/]", metrics[MODEL], metric, "")
    names = {**BASELINES, LOGGED: "as logged", SERVING: card.get("parent", "")}
    for ranking, words in names.items():
        if ranking in metrics:
            _add(table, words, metrics[ranking], metric, _above(mine, metrics[ranking], metric))
    return table


def rows_text(card: Mapping[str, Any]) -> str:
    """What the model was trained and judged on."""
    training, holdout = card["training"], card["holdout"]
    taken = training["rows"] + holdout["rows"]
    shown = card.get("shown", {}).get("pins", taken)
    part = "" if taken == shown else f" (an even sample of {shown:,})"
    what = "rows of the feature log" if card.get("origin") == "features" else "impressions"
    length = span(holdout["last_ms"] - holdout["first_ms"])
    return (
        f"{taken:,} {what}{part}; trained on {training['rows']:,} up to {moment(training['last_ms'])}, "
        f"judged on {holdout['rows']:,} of the {length} after it ({_rates_text(card)})"
    )


def gain_text(gain: Mapping[str, float]) -> str:
    """The features that were worth most."""
    total = sum(gain.values()) or 1.0
    shares = [f"{name} {value / total:.0%}" for name, value in list(gain.items())[:_FEATURES_SHOWN]]
    return "what it looks at, by gain: " + ", ".join(shares)


def number(value: float | None) -> str:
    """A metric."""
    return "–" if value is None else f"{value:.4f}"


def _rates_text(card: Mapping[str, Any]) -> str:
    holdout, labels = card["holdout"], card.get("labels", {}).get("holdout", {})
    text = f"{holdout['positives'] / holdout['rows']:.1%} engaged with"
    if len(labels) < _GRADED:
        return text
    return text + ": " + ", ".join(f"{name} {share:.1%}" for name, share in labels.items())


def _add(table: Table, words: str, seen: Mapping[str, Any], metric: str, above: str) -> None:
    interval, less = seen.get("interval"), seen.get("model_minus", {}).get("interval")
    table.add_row(
        words,
        number(seen[metric]) + ("" if interval is None else f" ± {(interval[1] - interval[0]) / 2:.4f}"),
        number(seen["auc"]),
        above,
        "" if less is None else f"{less[0]:+.4f} to {less[1]:+.4f}",
    )


def _above(mine: float | None, seen: Mapping[str, Any], metric: str) -> str:
    """How the model compares, on the rows that both have where the card says it."""
    less, other = seen.get("model_minus", {}).get("ndcg"), seen[metric]
    if less is None:
        less = None if mine is None or other is None else mine - other
    if less is None or not other:
        return "–"
    return f"{abs(less / other):.1%} {'higher' if less >= 0 else 'lower'}"
