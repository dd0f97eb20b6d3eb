"""Staging a prepared load on its host: check, copy, ingest; live it becomes later (`generations.py`).

    manifest → fits the schemas and the sharding? → copy the files of owned shards, checksums compared
        → ingest into a new database, all or none → complete

The checksums stand for the rows: the engine tells how many rows a database has only roughly.
Whatever fails, also by kill -9, leaves what is answered as it was, and nothing complete behind.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from services.chassis.shards.owned import OwnedShards
from services.chassis.storage import StorageMemory, Store
from services.rockstore.loads.generation_files import DATABASE, GenerationFolder
from services.rockstore.loads.generations import LOADED, LOADED_FAMILIES, Generations
from services.rockstore.loads.prepared import BadLoad, LoadFile, LoadManifest, copy_checked
from services.rockstore.schema import Kind, Schemas


@dataclass(frozen=True, slots=True)
class Staging:
    """How far it is."""

    bytes_done: int
    bytes_total: int
    generation: int
    """Its number once it is staged; 0 before."""


class Loader:
    """Stages loads, one at a time."""

    def __init__(
        self, generations: Generations, schemas: Schemas, owned: OwnedShards, *, memory: StorageMemory
    ) -> None:
        self._generations = generations
        self._schemas = schemas
        self._owned = owned
        self._memory = memory

    def stage(self, path: Path) -> Iterator[Staging]:
        """Stage the prepared load at `path`; the last progress has its number.

        Raises:
            BadLoad: it does not fit this host.
            CorruptValue: files are damaged.
            LoadInProgress: another one is being staged.
            DiskFull, StorageFault: the engine failed.
        """
        manifest = LoadManifest.read(path)
        files = self._fitting(path, manifest)
        with self._generations.changing():
            yield from self._stage(path, manifest, files)

    def _stage(self, path: Path, manifest: LoadManifest, files: list[LoadFile]) -> Iterator[Staging]:
        folder = self._generations.folder(manifest.kind)
        number, loading = folder.begin()
        total = sum(file.size_bytes for file in files)
        try:
            done = 0
            yield Staging(done, total, 0)
            for file in files:
                for copied in copy_checked(path / file.name, loading / file.name, file):
                    done += copied
                    yield Staging(done, total, 0)
            self._ingest(loading, files)
            manifest.write(loading)
            folder.complete(number, loading)
        finally:
            # Also when the caller goes away, which ends this generator where it stands.
            shutil.rmtree(loading, ignore_errors=True)
        self._open(folder, manifest.kind, number)
        yield Staging(done, total, number)

    def _open(self, folder: GenerationFolder, kind: int, number: int) -> None:
        try:
            self._generations.staged(kind, number)
        except BaseException:
            folder.drop(number)
            raise

    def _ingest(self, loading: Path, files: list[LoadFile]) -> None:
        with Store(loading / DATABASE, LOADED_FAMILIES, memory=self._memory) as store:
            if files:
                store.ingest(LOADED, [loading / file.name for file in files])

    def _fitting(self, path: Path, manifest: LoadManifest) -> list[LoadFile]:
        """The files with rows of this host."""
        if manifest.kind not in [int(kind) for kind in Kind]:
            raise BadLoad(f"{path} is of kind {manifest.kind}, which there is not", kind=manifest.kind)
        name = Kind(manifest.kind).name.lower()
        schema = self._schemas.get(manifest.kind, manifest.schema_version)
        if schema is None:
            declared = list(self._schemas.versions(manifest.kind))
            raise BadLoad(
                f"{path} holds {name} rows of schema version {manifest.schema_version}; "
                f"declared are {declared}",
                schema_version=manifest.schema_version,
            )
        widths = (manifest.feature_count, manifest.id_count)
        if widths != (len(schema.features), len(schema.id_columns)):
            raise BadLoad(
                f"{path} has rows of {widths[0]} features and {widths[1]} ids; schema version "
                f"{schema.version} of {name} has {len(schema.features)} and {len(schema.id_columns)}"
            )
        sharding = (manifest.num_shards, manifest.shard_scheme)
        if sharding != (self._owned.num_shards, str(self._owned.scheme)):
            raise BadLoad(
                f"{path} was prepared for {sharding[0]} {sharding[1]} shards; this host has "
                f"{self._owned.num_shards} {self._owned.scheme}"
            )
        for file in manifest.files:
            if not (path / file.name).is_file() or (path / file.name).stat().st_size != file.size_bytes:
                raise BadLoad(f"{path / file.name} is missing, or not {file.size_bytes} bytes long")
        return [
            file for file in manifest.files if self._owned.mask[file.first_shard : file.last_shard + 1].any()
        ]
