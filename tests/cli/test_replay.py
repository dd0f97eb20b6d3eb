"""Logged requests scored again: what must be equal is, and the same input gives the same bytes."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from feedmesh.log.v1 import event_pb2
from services.cli.faults import CliFault, UsageFault
from services.cli.replay.command import parsed_time
from services.cli.replay.report import as_document, print_replayed
from services.cli.replay.run import Asked, Replayed, replayed_rows
from services.cli.replay.scoring import LOGGED, loaded, rows_for
from services.cli.train.history import History
from services.scorpion.feature_log_files import LoggedRows
from tests.cli.feature_logs import FEATURES, HOUR_MS, T0, page, pages, with_digest, write_log
from tests.cli.model_versions import CHANCE, TASTE, write_version
from tests.cli.train_logs import event, history_of


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """`taste` and `chance`, which rank by one feature each."""
    write_version(tmp_path / "models", "taste", model=TASTE)
    write_version(tmp_path / "models", "chance", model=CHANCE)
    return tmp_path / "models"


def served(models: Path, count: int = 12, *, name: str = "taste", off: float = 0.0) -> list[LoggedRows]:
    """Pages as the model served them; `off` is added to the scores of one page."""
    model = loaded(models, name, FEATURES)
    parts = []
    for number, part in enumerate(pages(count, model=name)):
        scores = model.score(part.features) + (np.float32(off) if number == 1 else np.float32(0))
        order = np.argsort(-scores, kind="stable")
        parts.append(
            page(
                part.pins[order].tolist(),
                served_ms=int(part.served_ms[0]),
                log_id=int(part.log_ids[0]),
                user=int(part.users[0]),
                model=name,
                matrix=np.ascontiguousarray(part.features[order]),
                scores=scores[order].tolist(),
            )
        )
    return parts


def replayed(
    models: Path, folder: Path, *, model: str = "taste", against: str = LOGGED, actions: History | None = None
) -> Replayed:
    asked = Asked(model=model, against=against, window_ms=HOUR_MS, rows_max=10_000)
    return replayed_rows(models, [folder], FEATURES, asked, lambda: actions or History())


def test_the_model_that_served_gives_the_logged_scores(models: Path, tmp_path: Path) -> None:
    told = replayed(models, write_log(tmp_path / "log", served(models)))
    assert told.agreement is not None
    assert (told.agreement.rows, told.agreement.off) == (72, 0)
    assert told.compared.means()["unchanged_order"] == 1.0
    assert "training and serving agree" in text_of(told)


def test_scores_that_are_not_as_logged_are_counted(models: Path, tmp_path: Path) -> None:
    told = replayed(models, write_log(tmp_path / "log", served(models, off=1e-3)))
    assert told.agreement is not None
    assert (told.agreement.rows, told.agreement.off) == (72, 6)
    assert told.agreement.off_max == pytest.approx(1e-3, rel=1e-2)
    assert "do not score as logged" in text_of(told)


def test_rows_of_other_models_are_not_held_against_one(models: Path, tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", served(models, name="chance"))
    told = replayed(models, folder, model="taste")
    assert told.agreement is not None
    assert (told.agreement.rows, told.agreement.off) == (0, 0)
    assert told.compared.means()["unchanged_order"] < 0.5  # type: ignore[operator]
    assert "served none of these rows" in text_of(told)


def test_two_models_are_compared_with_each_other(models: Path, tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", served(models))
    told = replayed(models, folder, model="chance", against="taste")
    assert told.agreement is None
    logged = replayed(models, folder, model="chance", against=LOGGED)
    np.testing.assert_allclose(told.compared.kendall, logged.compared.kendall)
    assert as_document(told, 3)["most_changed"] == as_document(logged, 3)["most_changed"]


def test_the_same_input_gives_the_same_bytes(models: Path, tmp_path: Path) -> None:
    parts = served(models, name="chance")
    one = write_log(tmp_path / "one", parts)
    # The same rows in other files: an order of the disk must not be told.
    two = tmp_path / "two"
    for number, part in enumerate(parts):
        write_log(two, [part], name=f"{number:02d}")
    documents, texts = set(), set()
    for folder in (one, one, two):
        told = replayed(models, folder, actions=history_of([saved(parts[0])]))
        documents.add(json.dumps(as_document(told, 10)))
        texts.add(text_of(told))
    assert len(documents) == len(texts) == 1


def test_ndcg_is_by_what_people_did(models: Path, tmp_path: Path) -> None:
    parts = served(models)
    told = replayed(models, write_log(tmp_path / "log", parts), actions=history_of([saved(parts[3])]))
    # The save is of the pin that the model had first.
    assert told.ndcg is not None
    assert told.ndcg["model"] == told.ndcg["against"] == 1.0
    assert told.ndcg["requests"] == 1
    assert "by what people did" in text_of(told)


def test_without_actions_it_says_why_there_is_no_ndcg(models: Path, tmp_path: Path) -> None:
    told = replayed(models, write_log(tmp_path / "log", served(models)))
    assert told.ndcg is None
    assert "nothing on these pages was engaged with" in text_of(told)


def test_requests_that_a_model_was_trained_on_are_counted(models: Path, tmp_path: Path) -> None:
    parts = served(models)
    write_version(models, "late", {"training": {"last_ms": T0 + 3 * HOUR_MS}})
    folder = write_log(tmp_path / "log", parts)
    assert replayed(models, folder, model="late").taught_count == 4
    assert replayed(models, folder, model="taste").taught_count == 0


def test_the_output_fits_a_hundred_columns(models: Path, tmp_path: Path) -> None:
    told = replayed(models, write_log(tmp_path / "log", served(models)), model="chance")
    lines = text_of(told).splitlines()
    assert any("request-" in line for line in lines)
    assert all(len(line) <= 100 and "…" not in line for line in lines)


def test_rows_of_other_features_are_refused_by_name(models: Path, tmp_path: Path) -> None:
    folder = write_log(tmp_path / "log", [with_digest(page([1, 2]), taste="another")])
    with pytest.raises(UsageFault, match=r"2 rows .* taste"):
        rows_for([folder], FEATURES, [loaded(models, "taste", FEATURES)], rows_max=100)
    with pytest.raises(UsageFault, match="feature_log_share"):
        rows_for([tmp_path / "absent"], FEATURES, [loaded(models, "taste", FEATURES)], rows_max=100)


def test_models_that_are_not_there_or_broken_are_refused(models: Path) -> None:
    with pytest.raises(UsageFault, match="near it: taste"):
        loaded(models, "tast", FEATURES)
    (models / "chance" / "model.txt").write_text("tree\n")
    with pytest.raises(CliFault, match="Scorpion would refuse chance"):
        loaded(models, "chance", FEATURES)


@pytest.mark.parametrize(
    ("written", "time_ms"),
    [
        ("1790000000000", 1_790_000_000_000),
        ("2026-03-01", 1_772_323_200_000),
        ("2026-03-01T12:00:00Z", 1_772_366_400_000),
        ("2026-03-01T12:00:00", 1_772_366_400_000),
        ("2026-03-01T12:00:00+01:00", 1_772_362_800_000),
    ],
)
def test_times_are_milliseconds_or_iso(written: str, time_ms: int) -> None:
    assert parsed_time(written, "--from") == time_ms


def test_a_time_that_is_none_says_how_to_write_it() -> None:
    with pytest.raises(UsageFault, match="--until is 'yesterday'"):
        parsed_time("yesterday", "--until")


def saved(part: LoggedRows) -> event_pb2.Event:
    """The user saves the first pin of the page."""
    save = event_pb2.SavePin(pin=int(part.pins[0]), board=3, user=int(part.users[0]), owner=8)
    return event("save", int(part.served_ms[0]) + 5, save_pin=save)


def text_of(told: Replayed) -> str:
    text = io.StringIO()
    print_replayed(Console(file=text, width=100), told, 5)
    return text.getvalue()
