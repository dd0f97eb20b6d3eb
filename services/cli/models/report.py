"""What `feedmesh models` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.cli.models.moving import Moved
from services.cli.models.scorpions import Told, answering
from services.cli.models.states import State
from services.cli.models.versions import Version
from services.cli.train.report import metrics_table, number, rows_text
from services.cli.train.times import day, moment

_FEATURES_SHOWN: Final = 20
_POSITIONS_SHOWN: Final = 10
_NAME_WIDTH: Final = 24
_STYLES: Final = {"serving": "green", "refused": "red", "promoted": "yellow", "kept back": "yellow"}


def versions_table(found: Sequence[Version], states: Mapping[str, State]) -> Table:
    """For people; the newest first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    longest = max((len(version.name) for version in found), default=0)
    table.add_column("model", overflow="fold", min_width=min(longest, _NAME_WIDTH))
    for column in ("trained", "data"):
        table.add_column(column, no_wrap=True)
    for column in ("NDCG", "−light", "−newest", "−parent", "trees"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for version in reversed(found):
        data, trained = version.data_ms, version.card.get("trained_at_ms")
        table.add_row(
            version.name,
            day(trained) if trained else "–",
            f"{day(data[0])[5:]} – {day(data[1])[5:]}" if data else "–",
            number(version.ndcg("model")),
            *(_short(version.minus(ranking)) for ranking in ("light_score", "newest", "serving")),
            str(version.card.get("trees", "–")),
            ", ".join(_styled(word) for word in states[version.name].words),
        )
    return table


def list_text(
    directory: Path, found: Sequence[Version], states: Mapping[str, State], told: Sequence[Told]
) -> str:
    """What the table does not say: reasons, and who was asked."""
    if not found:
        return f"no model in {escape(str(directory))}; feedmesh train makes one"
    lines = [f"{name}: {escape(states[name].why)}" for name in states if states[name].why]
    silent = [one.process for one in told if not one.answers]
    if not answering(told):
        lines.append("[dim]no Scorpion answers: what serves is not known, only what was promoted[/]")
    elif silent:
        lines.append(f"[dim]no answer from {', '.join(silent)}[/]")
    lines.append("[dim]NDCG on the days held out of its training, and its difference to the others there[/]")
    return "\n".join(lines)


def as_documents(found: Sequence[Version], states: Mapping[str, State]) -> list[dict[str, Any]]:
    """For machines; by name."""
    return [
        {
            "model": version.name,
            "state": list(states[version.name].words),
            "why": states[version.name].why,
            "trained_at_ms": version.card.get("trained_at_ms"),
            "data_ms": version.data_ms,
            "origin": version.card.get("origin"),
            "objective": version.card.get("objective"),
            "trees": version.card.get("trees"),
            "parent": version.card.get("parent"),
            "metrics": version.card.get("metrics"),
        }
        for version in found
    ]


def print_card(console: Console, version: Version) -> None:
    """A model's card, for people."""
    card = version.card
    console.print(f"[bold]{version.name}[/]  [dim]{escape(str(version.folder))}[/]", soft_wrap=True)
    if "training" not in card:
        console.print("its card does not say how it was trained", style="yellow")
        return
    facts = [
        moment(card["trained_at_ms"]) if "trained_at_ms" in card else "",
        card.get("objective", card["options"].get("objective", "")),
        f"{card['trees']} trees",
        f"LightGBM {card['lightgbm']}",
        f"after {card['parent']}" if card.get("parent") else "",
    ]
    console.print(", ".join(fact for fact in facts if fact), highlight=False)
    first, last = version.data_ms or (0, 0)
    console.print(f"data from {moment(first)} to {moment(last)}: {rows_text(card)}", highlight=False)
    console.print(metrics_table(card))
    _print_verdict(console, card)
    if card.get("engaged_by_position"):
        shares = " ".join(f"{share:.1%}" for share in card["engaged_by_position"][:_POSITIONS_SHOWN])
        console.print(f"engaged with, by place on the page: {shares}", style="dim", highlight=False)
    if card.get("by_feature"):
        console.print(_features_table(card["by_feature"]))
        if len(card["by_feature"]) > _FEATURES_SHOWN:
            left = len(card["by_feature"]) - _FEATURES_SHOWN
            console.print(f"and {left} more; --json has them all", style="dim", highlight=False)


def moved_text(moved: Moved) -> str:
    """What became of a promote or a rollback, but for those that are behind."""
    before = f", in place of {moved.before}" if moved.before and moved.before != moved.name else ""
    if moved.served_by:
        lines = [f"[green]{moved.name} serves[/] on {', '.join(moved.served_by)}{before}"]
    else:
        lines = [f"{moved.name} is promoted{before}"]
    if moved.silent and not moved.served_by and not moved.behind:
        lines.append("[yellow]no Scorpion answers[/]; it will serve when one starts")
    elif moved.silent:
        lines.append(f"[yellow]no answer[/] from {', '.join(moved.silent)}")
    return "\n".join(lines)


def moved_document(moved: Moved) -> dict[str, Any]:
    """The same for machines."""
    return {
        "model": moved.name,
        "before": moved.before,
        "served_by": moved.served_by,
        "not_served_by": {one.process: one.serving for one in moved.behind},
        "no_answer": moved.silent,
    }


def _print_verdict(console: Console, card: Mapping[str, Any]) -> None:
    verdict = card.get("verdict")
    if verdict is None:
        return
    console.print(f"the rule: {verdict['rule']}", style="dim", highlight=False)
    if not verdict["refused"]:
        console.print("[green]may serve[/]")
    elif verdict["forced"]:
        console.print(
            f"[yellow]forced[/] ({escape(verdict['forced'])}): {escape(verdict['refused'])}", highlight=False
        )
    else:
        console.print(f"[yellow]kept back[/]: {escape(verdict['refused'])}", highlight=False)


def _features_table(features: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("feature", no_wrap=True)
    for column in ("gain", "splits", "at default", "mean", "10%", "50%", "90%", "digest"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, told in list(features.items())[:_FEATURES_SHOWN]:
        quantiles = told["quantiles"]
        table.add_row(
            name,
            f"{told['gain_share']:.1%}",
            f"{told['splits']:,}",
            f"{told['at_default']:.1%}",
            *(f"{value:.4g}" for value in (told["mean"], *(quantiles[at] for at in ("0.1", "0.5", "0.9")))),
            f"[dim]{told['digest'][:8]}[/]",
        )
    return table


def _short(difference: float | None) -> str:
    return "–" if difference is None else f"{difference:+.3f}"


def _styled(word: str) -> str:
    style = _STYLES.get(word)
    return f"[{style}]{word}[/]" if style else word
