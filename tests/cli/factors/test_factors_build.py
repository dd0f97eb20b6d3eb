"""`feedmesh factors build` learns what people save together, and writes what serving can read."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from typer.testing import CliRunner, Result

from services.cli.__main__ import app
from services.cli.factors.learning import MISSING, Options, learn
from services.cli.factors.listing import listed
from services.cli.factors.pairs import Pairs, paired
from services.cli.faults import UsageFault
from services.scorpion.factors import Factors
from services.scorpion.factors.files import Manifest
from services.scorpion.feature_file import parse_feature_list, with_factors
from services.scorpion.features import Signal
from tests.scorpion.factors.small import write_version

GROUPS, PINS_EACH, BOARDS_EACH = 4, 12, 15
OPTIONS = Options(dim=6, alpha=5.0, regularisation=1.0, iterations=8)


def drawn() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Boards that each save half of the pins of one group, and one of any."""
    rng = np.random.default_rng(4)
    boards, pins = [], []
    for board in range(GROUPS * BOARDS_EACH):
        first = (board % GROUPS) * PINS_EACH
        mine = [
            *rng.choice(PINS_EACH, PINS_EACH // 2, replace=False) + first,
            rng.integers(GROUPS * PINS_EACH),
        ]
        boards += [board + 1] * len(mine)
        pins += [int(pin) + 1 for pin in mine]
    return np.array(boards, np.uint64), np.array(pins, np.uint64)


def pairs() -> Pairs:
    boards, pins = drawn()
    return paired(boards, pins, np.ones(pins.size, np.float32), source="drawn")


def unseen(done: int, total: int) -> None:
    """Progress that nobody looks at."""


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["factors", *arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    boards, pins = drawn()
    np.savez(tmp_path / "pairs.npz", boards=boards, pins=pins)
    return tmp_path / "pairs.npz"


def test_pins_that_are_saved_together_are_near_each_other(tmp_path: Path) -> None:
    factors = Factors.open(write_version(tmp_path, learn(pairs(), OPTIONS, unseen)))
    everything = np.arange(1, GROUPS * PINS_EACH + 1, dtype=np.uint64)
    for group in range(GROUPS):
        first = group * PINS_EACH
        told = Signal(everything[first : first + 3], np.ones(3, np.float32))
        near = factors.values(told, everything)
        others = np.delete(near, np.arange(first, first + PINS_EACH))
        assert np.median(near[first : first + PINS_EACH]) > others.max()


def test_a_user_is_folded_in_as_the_library_does_it(tmp_path: Path) -> None:
    whole = pairs()
    of = learn(whole, OPTIONS, unseen)
    factors = Factors.open(write_version(tmp_path, of))
    model = AlternatingLeastSquares(factors=6, regularization=1.0, use_cg=False, num_threads=1)
    model.item_factors = of.factors
    model.user_factors = np.zeros((1, 6), np.float32)
    mine, weights = [3, 20, 21], np.array([1.0, 0.5, 0.25], np.float32)
    row = csr_matrix((1 + 5 * weights, ([0] * 3, mine)), shape=(1, whole.pins.size))
    user = model.recalculate_user(0, row)
    values = factors.values(Signal(whole.pins[mine], weights), whole.pins)
    np.testing.assert_allclose(values, of.factors @ user.ravel(), rtol=1e-3, atol=1e-4)


def test_regularisation_follows_what_boards_weigh() -> None:
    boards, pins = drawn()
    whole = pairs()
    heavy = paired(boards, pins, np.full(pins.size, 2, np.float32), source="drawn")
    free = replace(OPTIONS, regularisation=None)
    light = learn(whole, free, unseen)
    assert light.regularisation == pytest.approx(0.3 * 5 * whole.pair_count / whole.board_count)
    assert learn(heavy, free, unseen).regularisation == pytest.approx(2 * light.regularisation)
    assert light.told["regularisation"] == light.regularisation


def test_progress_ends_where_it_said(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    learn(pairs(), OPTIONS, lambda done, total: told.append((done, total)))
    assert told == [(number, 8) for number in range(1, 9)]


def test_the_command_writes_a_version_and_prints_a_feature_that_reads_it(tmp_path: Path, file: Path) -> None:
    result = run(
        "build", str(file), "--out", str(tmp_path / "factors"), "--version", "20261128T180000", "--dim", "6"
    )
    assert (result.exit_code, result.exception) == (0, None)
    text = result.stdout[result.stdout.index("[[feature]]") :]
    features = with_factors(parse_feature_list(text), tmp_path / "factors")
    assert features.names == ("saves_20261128t180000",)
    (one,) = listed(tmp_path / "factors", features)
    assert one.read_by == features.names
    assert one.manifest is not None
    assert one.manifest.learned["pairs"] == pairs().pair_count
    assert one.manifest.source == "pairs.npz"


def test_when_the_pairs_end_is_kept_and_else_it_is_when_they_were_read(tmp_path: Path, file: Path) -> None:
    out = ["--out", str(tmp_path / "factors"), "--dim", "4"]
    run("build", str(file), *out, "--version", "v1", "--until", "2026-11-01T00:00:00Z")
    run("build", str(file), *out, "--version", "v2")
    said, unsaid = (Manifest.read(tmp_path / "factors" / "saves" / version) for version in ("v1", "v2"))
    assert said.knows_until_ms == 1_793_491_200_000 < said.built_ms
    assert unsaid.knows_until_ms == unsaid.built_ms


def test_what_cannot_become_a_version_is_refused_before_the_work(tmp_path: Path, file: Path) -> None:
    out = ["--out", str(tmp_path / "factors")]
    assert run("build", str(file), *out, "--version", "v1", "--dim", "4").exit_code == 0
    for options, says in (
        (["--version", "v1"], "another --version"),
        (["--name", "Saves"], "--name"),
        (["--version", ".x"], "--version"),
        (["--dim", "257"], "1 to 256"),
        (["--dim", "200"], "directions"),
    ):
        result = run("build", str(file), *out, *options)
        assert isinstance(result.exception, UsageFault), options
        assert says in str(result.exception)
    assert {entry.name for entry in (tmp_path / "factors" / "saves").iterdir()} == {"v1"}


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit", None)
    with pytest.raises(UsageFault, match=r"feedmesh\[factors\]"):
        learn(pairs(), OPTIONS, unseen)
    assert "feedmesh[factors]" in MISSING


def test_versions_are_listed_with_what_reads_them_and_what_is_wrong(tmp_path: Path, file: Path) -> None:
    out = ["--out", str(tmp_path / "factors")]
    assert isinstance(run("list", *out).exception, UsageFault)
    for version in ("v1", "v2"):
        run("build", str(file), *out, "--version", version, "--dim", "4", "--precision", "float16")
    (tmp_path / "factors" / "saves" / "v2" / "manifest.json").write_text("{")
    (tmp_path / "features.toml").write_text(
        '[[feature]]\nname = "near"\nsource = "factors.saves"\nversion = "v1"\nsignal = "recent_pins"\n'
        '[[feature]]\nname = "gone"\nsource = "factors.saves"\nversion = "v0"\nsignal = "recent_pins"\n'
    )
    result = run("list", *out, "--config", str(tmp_path))
    lines = {line.split()[1]: line for line in result.stdout.splitlines() if line.startswith("saves")}
    assert lines.keys() == {"v0", "v1", "v2"}
    assert "4 float16" in lines["v1"]
    assert lines["v1"].rstrip().endswith("near")
    assert lines["v0"].rstrip().endswith("gone")
    assert "cannot be read" in lines["v2"]
