"""Generate Python code beside the protos: `python protos/generate.py [--check]`.

`--check` generates into a temporary folder and fails, naming the files, when what is committed differs.
"""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")


def generate(out: Path) -> None:
    """Run protoc over every proto of the tree, writing messages, services and their type stubs to `out`."""
    protos = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.proto"))
    plugins = Path(sys.executable).parent
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-I.",
        f"--python_out={out}",
        f"--grpc_python_out={out}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        f"--mypy_out=quiet:{out}",
        f"--mypy_grpc_out=quiet:{out}",
        *protos,
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    for path in list(out.rglob("*_pb2_grpc.py")):
        # A proto without a service gets an empty service file; nobody imports it.
        if "_registered_method" not in path.read_text():
            path.unlink()
            path.with_suffix(".pyi").unlink(missing_ok=True)


def generated(folder: Path) -> set[Path]:
    """Paths of generated files under `folder`, relative to it."""
    return {path.relative_to(folder) for path in folder.rglob("*") if path.name.endswith(SUFFIXES)}


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        fresh = Path(name)
        generate(fresh)
        new, old = generated(fresh), generated(ROOT)
        stale = sorted(
            str(path)
            for path in new | old
            if not ((path in new and path in old) and filecmp.cmp(fresh / path, ROOT / path, shallow=False))
        )
        if "--check" in sys.argv[1:]:
            if stale:
                print("generated code is not fresh (run `make protos`): " + ", ".join(stale), file=sys.stderr)
            return bool(stale)
        for path in old - new:
            (ROOT / path).unlink()
        for path in new:
            shutil.copyfile(fresh / path, ROOT / path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
