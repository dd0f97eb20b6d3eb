from pathlib import Path

import pytest

from services.chassis.errors import CorruptValue, DiskFull, FeedmeshError, StorageFault
from services.chassis.storage.faults import translate, translate_open

PATH = Path("data")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IO error: No space left on device: While appending to file: 4.log", DiskFull),
        ("IO error: Disk quota exceeded: While appending to file: 4.log", DiskFull),
        ("Corruption: block checksum mismatch: stored = 1, computed = 2", CorruptValue),
        ("IO error: Input/output error: While fsync", StorageFault),
        ("Invalid argument: anything", StorageFault),
    ],
    ids=["full disk", "quota", "checksum", "broken disk", "argument"],
)
def test_each_fault_of_the_engine_has_its_class(text: str, expected: type[FeedmeshError]) -> None:
    fault = translate(Exception(text), path=PATH, doing="writing")

    assert type(fault) is expected
    assert fault.facts == {"path": "data"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "IO error: lock hold by current process, acquire time 1: data/LOCK: No locks",
            "this process",
        ),
        ("IO error: While lock file: data/LOCK: Resource temporarily unavailable", "another process"),
    ],
    ids=["own", "other"],
)
def test_a_held_lock_says_who_holds_it(text: str, says: str) -> None:
    fault = translate_open(Exception(text), path=PATH)

    assert type(fault) is StorageFault
    assert says in fault.message


def test_other_faults_of_an_open_are_translated_as_usual() -> None:
    assert type(translate_open(Exception("Corruption: no MANIFEST"), path=PATH)) is CorruptValue
