"""Claims about Rockstore's configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.chassis.config import load_config
from services.chassis.errors import ConfigFaults
from services.rockstore.config import RockstoreConfig
from services.rockstore.schema import Kind, Schemas

EXAMPLE = Path("deploy/config/rockstore.toml")


def test_the_example_has_every_knob_with_its_default() -> None:
    loaded = load_config(RockstoreConfig, path=EXAMPLE, env={}, prefix="FEEDMESH_ROCKSTORE")
    default = RockstoreConfig()
    own = [name for name in vars(default) if name not in ("process", "follower")]
    assert {name: getattr(loaded, name) for name in own} == {name: getattr(default, name) for name in own}
    text = EXAMPLE.read_text()
    assert [name for name in own if name not in text] == []


def test_schemas_are_declared_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "rockstore.toml"
    names = [f"f{column}" for column in range(64)]
    path.write_text(
        f"[[schemas]]\nkind = 'pin'\nversion = 1\nfeatures = {names}\ndefaults = {[0.0] * 64}\n"
        "[[schemas]]\nkind = 'pin'\nversion = 2\nfeatures = ['g']\ndefaults = [1.0]\n"
        "upgrades = {f63 = 'g'}\n"
    )
    loaded = load_config(RockstoreConfig, path=path, env={}, prefix="FEEDMESH_ROCKSTORE")
    schemas = Schemas(schema.build() for schema in loaded.schemas)
    assert schemas.versions(Kind.PIN) == (1, 2)
    newest = schemas.newest(Kind.PIN)
    assert newest is not None
    assert (newest.features, newest.defaults, newest.renames) == (("g",), (1.0,), {"f63": "g"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(
            "[[schemas]]\nkind = 'pin'\nversion = 1\nfeatures = ['a']", "as many defaults", id="no defaults"
        ),
        pytest.param("[[schemas]]\nkind = 'cat'\nversion = 1", "kind", id="unknown kind"),
        pytest.param("object_bytes_max = 100000000", "message_bytes_max", id="answer too large"),
        pytest.param("row_ids_max = 10000000", "pin rows", id="rows too large"),
        pytest.param(
            "[[schemas]]\nkind = 'pin'\nversion = 1\nid_columns = ['a']\n" * 2,
            "declared twice",
            id="a version twice",
        ),
    ],
)
def test_faults_are_told(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "rockstore.toml"
    path.write_text(text)
    with pytest.raises(ConfigFaults, match=says):
        load_config(RockstoreConfig, path=path, env={}, prefix="FEEDMESH_ROCKSTORE")
