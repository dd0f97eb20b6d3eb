"""`feedmesh features explain`: sources that nobody declares are found, and the parts of a score add up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from feedmesh.apiary.v1 import apiary_pb2, apiary_pb2_grpc
from feedmesh.polaris.v1 import polaris_pb2, polaris_pb2_grpc
from feedmesh.realpin.v1 import realpin_pb2, realpin_pb2_grpc
from feedmesh.rockstore.v1 import rockstore_pb2, rockstore_pb2_grpc
from feedmesh.scorpion.v1 import scorpion_pb2, scorpion_pb2_grpc
from feedmesh.type.v1 import type_pb2
from services.chassis.columns.packed import (
    pack_f32,
    pack_i64,
    pack_u8,
    pack_u16,
    pack_u32,
    pack_u64,
    unpack_f32,
    unpack_u32,
    unpack_u64,
)
from services.chassis.errors import DataLoss, NotFound
from services.chassis.ids import string_id
from services.cli.__main__ import app
from services.cli.faults import CliFault, UsageFault
from services.cli.features.scored import read
from services.cli.features.sources import described
from services.cli.mesh.layout import Layout
from services.cli.train.declared import Declared

CONFIG = Path(__file__).parents[2] / "deploy" / "config"
ADA, PIN, SEA, SKY = string_id("ada"), 7, string_id("bob/sea"), 22


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["features", "explain", *arguments])


def config_with(tmp_path: Path, features: str) -> Path:
    """The shipped configuration with another list."""
    folder = tmp_path / "config"
    folder.mkdir()
    for service in ("counter", "polaris", "realpin", "rockstore"):
        (folder / f"{service}.toml").write_text((CONFIG / f"{service}.toml").read_text())
    (folder / "features.toml").write_text(features)
    return folder


def one(lines: str) -> str:
    return f'[[feature]]\nname = "x"\n{lines}\n'


def test_sources_of_the_shipped_list_are_all_declared() -> None:
    result = run("--config", str(CONFIG))
    assert (result.exit_code, result.exception) == (0, None)
    assert all(not feature.faults for feature in described(Declared.read(CONFIG, {})))
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert "float column quality of the pin's row in Rockstore" in lines["quality"]
    assert "saves / (impressions + 20) of the pin, from Counter" in lines["save_rate"]
    assert (
        "sum of RealPin's interest_weight over interest_0, interest_1, interest_2" in lines["interest_weight"]
    )
    assert "1 where RealPin's recent_pins holds the pin itself" in lines["engaged_before"]
    assert "RealPin's actions_7d at save" in lines["user_saves_7d"]
    assert "visits of Pixie's walk to it, from FeedGenerator" in lines["pixie_visits"]
    assert lines["seen_rate"].split()[-6:] == ["clip", "0", "to", "2", "0", "float"]


@pytest.mark.parametrize(
    ("lines", "todo"),
    [
        pytest.param('source = "pin.colour"', "declare it in version 2, or read one of quality", id="column"),
        pytest.param(
            'source = "board.size"', "no rows of kind board; add [[schemas]]", id="kind without rows"
        ),
        pytest.param('source = "count.likes"', "no counter likes; add it to [[counters]]", id="counter"),
        pytest.param(
            'source = "ratio"\nof = "saves"\nper = "looks"\nsmoothing = 1.0',
            "no counter looks",
            id="denominator",
        ),
        pytest.param(
            'source = "signal.mood"\nmatch = ["pin"]', "no signal mood; add it to [[signals]]", id="signal"
        ),
        pytest.param(
            'source = "signal.board_weight"\nmatch = ["shop"]', "no id column shop", id="id column to match"
        ),
        pytest.param(
            'source = "factors.saves"\nversion = "v1"\nsignal = "mood"', "no signal mood", id="folded signal"
        ),
        pytest.param(
            'source = "factors.saves"\nversion = "v1"\nsignal = "board_weight"',
            "not of pins",
            id="folded signal of boards",
        ),
        pytest.param('source = "signal.actions_7d"\nmatch = ["pin"]', "counts actions", id="actions by pin"),
    ],
)
def test_source_that_nobody_declares_is_named_with_what_to_do(tmp_path: Path, lines: str, todo: str) -> None:
    folder = config_with(tmp_path, one(lines) + '[[feature]]\nname = "y"\nsource = "pin.quality"\n')
    result = run("--config", str(folder))
    assert isinstance(result.exception, CliFault)
    assert result.exception.exit_code == 1
    assert str(result.exception).endswith(": x")
    assert todo in " ".join(result.stdout.split())
    documents = {row["name"]: row for row in json.loads(run("--config", str(folder), "--json").stdout)}
    assert todo in documents["x"]["faults"][0]
    assert documents["y"]["faults"] == []


def test_features_are_shown_by_name_and_an_unknown_name_is_refused(tmp_path: Path) -> None:
    rows = json.loads(run("--config", str(CONFIG), "--json", "save_rate", "age_hours").stdout)
    assert [row["name"] for row in rows] == ["save_rate", "age_hours"]
    assert rows[0] | {"digest": ""} == {
        "name": "save_rate",
        "source": "ratio saves/impressions",
        "from": "saves / (impressions + 20) of the pin, from Counter",
        "transform": "identity",
        "default": 0.0,
        "type": "float",
        "digest": "",
        "faults": [],
    }
    assert isinstance(run("--config", str(CONFIG), "colour").exception, UsageFault)
    folder = config_with(
        tmp_path, one('source = "count.likes"') + '[[feature]]\nname = "y"\nsource = "pin.quality"\n'
    )
    assert run("--config", str(folder), "y").exit_code == 0


@dataclass
class Mesh(
    scorpion_pb2_grpc.ScorpionServiceServicer,
    polaris_pb2_grpc.PolarisServiceServicer,
    apiary_pb2_grpc.ApiaryServiceServicer,
    realpin_pb2_grpc.RealPinServiceServicer,
    rockstore_pb2_grpc.RockstoreServiceServicer,
):
    """The services that are asked, all at once; keeps what Scorpion was asked."""

    data_dir: Path
    asked: list[scorpion_pb2.ScoreRequest] = field(default_factory=list)

    def GetSignals(self, request: Any, context: Any) -> Any:  # noqa: N802
        signals = {"board_weight": ([SEA], [2.5]), "recent_pins": ([PIN], [1.0])}
        return realpin_pb2.GetSignalsResponse(
            signals=[
                realpin_pb2.Signal(name=name, ids_u64=pack_u64(ids), values_f32=pack_f32(values))
                for name in request.names
                for ids, values in [signals.get(name, ([], []))]
            ]
        )

    def GetFollowedBoards(self, request: Any, context: Any) -> Any:  # noqa: N802
        boards = [5, SEA] if request.user == ADA else []
        return apiary_pb2.GetFollowedBoardsResponse(
            boards_u64=pack_u64(boards), affinities_f32=pack_f32([0.25, 0.5][: len(boards)])
        )

    def Retrieve(self, request: Any, context: Any) -> Any:  # noqa: N802
        (board,) = unpack_u64(request.boards_u64).tolist()
        (affinity,) = unpack_f32(request.affinities_f32).tolist()
        pins = {SEA: [8, PIN], SKY: [PIN, 9]}.get(board, [])
        return polaris_pb2.RetrieveResponse(
            pins_u64=pack_u64(pins),
            scores_f32=pack_f32([affinity * (n + 1) for n in range(len(pins))]),
            saved_at_u32=pack_u32([1_000 + n for n in range(len(pins))]),
            board_rows_u16=pack_u16([0] * len(pins)),
            hit_boards_u64=pack_u64([board] if pins else []),
            hit_owners_u64=pack_u64([33] if pins else []),
        )

    def GetObjects(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = rockstore_pb2.Object(id=PIN, version=1, pin=type_pb2.Pin(board=SKY))
        known = [
            found if id == PIN else rockstore_pb2.Object(id=id) for id in unpack_u64(request.ids_u64).tolist()
        ]
        return rockstore_pb2.GetObjectsResponse(objects=known)

    def Explain(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.asked.append(request.request)
        if request.request.model == "none":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such model")
        return answer()


def answer() -> scorpion_pb2.ExplainResponse:
    """Three features, one defaulted, of the pin's row, the counts and the request."""
    features = [
        scorpion_pb2.ExplainedFeature(name="quality", origin="pin.quality", source=0),
        scorpion_pb2.ExplainedFeature(name="saves", origin="count.likes", source=1),
        scorpion_pb2.ExplainedFeature(name="age_hours", origin="candidate.age_hours", source=2),
    ]
    return scorpion_pb2.ExplainResponse(
        model="20260301-120000",
        scores_f32=pack_f32([-0.75]),
        features=features,
        values_f32=pack_f32([0.5, 2.0, 3.25]),
        defaulted_u8=pack_u8([1, 0, 0]),
        contributions_f64=np.array([0.25, -1.5, 0.125, 0.375], "<f8").tobytes(),
        sources=["pin", "count", "request"],
        ages_ms_i64=pack_i64([-1, 1_500, 0]),
    )


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    layout = Layout.create(tmp_path / "data", ports=None, hosts={})
    # Each proto's other calls stay unimplemented: nobody asks for them.
    servicer = Mesh(layout.data_dir)  # type: ignore[abstract]
    server = grpc.server(ThreadPoolExecutor(4))
    scorpion_pb2_grpc.add_ScorpionServiceServicer_to_server(servicer, server)
    polaris_pb2_grpc.add_PolarisServiceServicer_to_server(servicer, server)
    apiary_pb2_grpc.add_ApiaryServiceServicer_to_server(servicer, server)
    realpin_pb2_grpc.add_RealPinServiceServicer_to_server(servicer, server)
    rockstore_pb2_grpc.add_RockstoreServiceServicer_to_server(servicer, server)
    for service in ("scorpion", "polaris", "apiary", "realpin", "rockstore"):
        server.add_insecure_port(layout.addresses(service)[0])
    server.start()
    yield servicer
    server.stop(None).wait()


def score(mesh: Mesh, *arguments: str) -> Result:
    return run("--data-dir", str(mesh.data_dir), "--config", str(CONFIG), *arguments)


def test_scorpion_is_asked_what_a_feed_would_ask(mesh: Mesh) -> None:
    result = score(mesh, "--user", "ada", "--pin", str(PIN), "--board", "bob/sea")
    assert result.exception is None
    (asked,) = mesh.asked
    assert asked.user == ADA
    assert unpack_u64(asked.pins_u64).tolist() == [PIN]
    assert unpack_u64(asked.boards_u64).tolist() == [SEA]
    assert unpack_u64(asked.owners_u64).tolist() == [33]
    assert unpack_f32(asked.affinities_f32).tolist() == [0.5]
    assert unpack_f32(asked.light_scores_f32).tolist() == [1.0]
    assert unpack_u32(asked.saved_at_u32).tolist() == [1_001]
    assert [one.name for one in asked.signals] == list(Declared.read(CONFIG, {}).features.signals)
    weight = next(one for one in asked.signals if one.name == "board_weight")
    assert (unpack_u64(weight.ids_u64).tolist(), unpack_f32(weight.values_f32).tolist()) == ([SEA], [2.5])
    assert asked.now_ms > 0
    assert asked.log_id == 0


def test_board_that_is_left_away_is_the_pins_own_with_an_affinity_of_one(mesh: Mesh) -> None:
    score(mesh, "--user", "ada", "--pin", str(PIN))
    score(mesh, "--user", "ada", "--pin", "404")
    own, unknown = mesh.asked
    assert unpack_u64(own.boards_u64).tolist() == [SKY]
    assert unpack_f32(own.affinities_f32).tolist() == [1.0]
    assert (unknown.boards_u64, unknown.light_scores_f32) == (b"", b"")


def test_parts_of_a_score_are_shown_the_greatest_first_and_add_up(mesh: Mesh) -> None:
    result = score(mesh, "--user", "ada", "--pin", str(PIN))
    lines = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert [line[0] for line in lines[2:]] == ["saves", "quality", "age_hours", "expected", "sum"]
    by_name = {line[0]: line for line in lines}
    # Scorpion's list reads another counter under this name: its own words are shown, not ours.
    assert by_name["saves"] == ["saves", "2", "-1.5000", "count.likes", "1.5", "s"]
    assert by_name["quality"][1:3] == ["0.5", "+0.2500"]
    assert by_name["quality"][-1] == "default"
    assert by_name["age_hours"][-3:] == ["with", "the", "request"]
    assert by_name["sum"][-1] == "-0.7500"


def test_features_that_are_left_out_count_in_one_line(mesh: Mesh) -> None:
    result = score(mesh, "--user", "ada", "--pin", str(PIN), "saves")
    assert "2 more" in result.stdout
    assert "+0.3750" in next(line for line in result.stdout.splitlines() if "2 more" in line)
    refused = score(mesh, "--user", "ada", "--pin", str(PIN), "colour")
    assert isinstance(refused.exception, UsageFault)


def test_document_of_a_score_has_ids_as_strings_and_adds_up(mesh: Mesh) -> None:
    document = json.loads(score(mesh, "--user", "ada", "--pin", str(PIN), "--json").stdout)
    assert (document["user"], document["pin"], document["board"]) == (str(ADA), str(PIN), str(SKY))
    parts = sum(feature["adds"] for feature in document["features"])
    assert document["expected"] + parts == document["added_up"] == document["score"] == -0.75
    ages = {feature["name"]: feature["age_ms"] for feature in document["features"]}
    assert ages == {"quality": None, "saves": 1_500, "age_hours": 0}
    assert [feature["defaulted"] for feature in document["features"]] == [False, True, False]


def test_pin_that_the_board_does_not_have_is_refused(mesh: Mesh) -> None:
    result = score(mesh, "--user", "ada", "--pin", "8", "--board", str(SKY))
    assert isinstance(result.exception, UsageFault)
    assert "does not have pin 8" in str(result.exception)
    assert mesh.asked == []


def test_model_is_passed_on_and_scorpions_refusal_comes_back(mesh: Mesh) -> None:
    result = score(mesh, "--user", "ada", "--pin", str(PIN), "--model", "none")
    assert isinstance(result.exception, NotFound)


@pytest.mark.parametrize("arguments", [["--user", "ada"], ["--pin", "7"], ["--board", "7"], ["--model", "m"]])
def test_half_a_question_is_refused(arguments: list[str]) -> None:
    assert isinstance(run(*arguments).exception, UsageFault)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"values_f32": pack_f32([1.0])}, id="too few values"),
        pytest.param({"contributions_f64": np.zeros(3, "<f8").tobytes()}, id="no expected score"),
        pytest.param({"scores_f32": pack_f32([1.0, 2.0])}, id="two candidates"),
        pytest.param({"sources": ["pin"], "ages_ms_i64": pack_i64([1])}, id="source that is not there"),
    ],
)
def test_columns_that_do_not_belong_together_are_an_error(change: dict[str, Any]) -> None:
    response = answer()
    for name, value in change.items():
        if name == "sources":
            del response.sources[:]
            response.sources.extend(value)
        else:
            setattr(response, name, value)
    with pytest.raises(DataLoss):
        read(response)
