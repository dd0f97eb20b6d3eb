"""What is written holds: links lead somewhere, example configs load, every service has the same rooms."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from services.chassis.config import load_config
from services.cli.mesh.layout import SERVICES

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("services/**/*.md")]
    if ".venv" not in path.parts
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(document: Path) -> None:
    links = [link for link in _LINK.findall(document.read_text()) if "://" not in link]
    missing = [link for link in links if not (document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("service", SERVICES)
def test_example_config_loads(service: str) -> None:
    config_class = _config_class(service)
    path = ROOT / "deploy" / "config" / f"{service}.toml"
    config = load_config(config_class, path=path, env={}, prefix=f"FEEDMESH_{service.upper()}")
    assert config.process.listen.startswith("127.0.0.1:")  # type: ignore[attr-defined]


def test_example_configs_listen_at_ports_of_their_own() -> None:
    listens = []
    for service in SERVICES:
        path = ROOT / "deploy" / "config" / f"{service}.toml"
        config = load_config(_config_class(service), path=path, env={}, prefix="NONE")
        listens.append(config.process.listen)  # type: ignore[attr-defined]
    assert len(set(listens)) == len(listens)


@pytest.mark.parametrize("service", SERVICES)
def test_service_has_its_rooms(service: str) -> None:
    folder = ROOT / "services" / service
    for room in ("__main__.py", "config.py", "service.py", "metrics.py", "README.md"):
        assert (folder / room).exists(), f"services/{service} has no {room}"
    main_lines = (folder / "__main__.py").read_text().count("\n")
    readme_lines = (folder / "README.md").read_text().count("\n")
    assert main_lines <= 60, f"__main__.py of {service} has {main_lines} lines: logic has moved in"
    assert readme_lines <= 40


def _config_class(service: str) -> type[object]:
    module = importlib.import_module(f"services.{service}.config")
    names = [name for name in vars(module) if name.lower() == f"{service}config"]
    assert len(names) == 1, f"services/{service}/config.py has no one class for the service"
    config_class: type[object] = getattr(module, names[0])
    return config_class
