"""The value in use is always one that was parsed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from services.chassis.errors import ConfigFaults
from services.chassis.watched_file import WatchedFile, parsed, read_text


def number(text: str) -> int:
    if not text.isdigit():
        raise ConfigFaults([f"{text!r} is no number"])
    return int(text)


class Watched:
    """A file that says a number."""

    def __init__(self, path: Path, *, text: str = "1") -> None:
        path.write_text(text, encoding="utf-8")
        self.path = path
        self.swapped: list[int] = []
        self.refused: list[tuple[str, ...]] = []
        self.swap_seen = threading.Event()
        self.file = WatchedFile(
            path,
            number(text),
            text=text,
            parse=number,
            what="numbers_path",
            swapped=self._on_swap,
            refused=lambda error: self.refused.append(error.faults),
        )

    def _on_swap(self, value: int) -> None:
        # What is told is in use already.
        assert self.file.current() == value
        self.swapped.append(value)
        self.swap_seen.set()

    def write(self, text: str) -> bool:
        self.path.write_text(text, encoding="utf-8")
        return self.file.reload()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "number.txt")


def test_a_changed_file_is_swapped_and_told(watched: Watched) -> None:
    assert watched.write("2")
    assert (watched.file.current(), watched.swapped, watched.refused) == (2, [2], [])


def test_a_file_that_says_the_same_is_no_swap(watched: Watched) -> None:
    assert not watched.write("1")
    assert watched.swapped == []


def test_a_bad_file_keeps_the_old_value_and_its_faults_name_it(watched: Watched) -> None:
    assert not watched.write("x")
    assert watched.file.current() == 1
    assert watched.refused == [(f"{watched.path}: 'x' is no number",)]


def test_a_bad_file_that_stays_is_refused_once(watched: Watched) -> None:
    watched.write("x")
    assert not watched.file.reload()
    assert len(watched.refused) == 1


def test_the_old_text_put_back_is_told_after_it_was_bad(watched: Watched) -> None:
    watched.write("x")
    assert watched.write("1")
    assert watched.swapped == [1]


def test_the_old_text_put_back_is_told_after_it_was_gone(watched: Watched) -> None:
    watched.path.unlink()
    assert not watched.file.reload()
    assert watched.file.current() == 1
    assert "numbers_path" in watched.refused[0][0]
    assert watched.write("1")
    assert watched.swapped == [1]


def test_a_file_that_is_no_text_keeps_the_old_value(watched: Watched) -> None:
    watched.path.write_bytes(b"\xff\xfe\xff")
    assert not watched.file.reload()
    assert watched.file.current() == 1
    assert len(watched.refused) == 1


def test_a_value_without_a_file_is_never_read_again() -> None:
    file = WatchedFile(
        None, 7, text="", parse=number, what="none", swapped=lambda _: None, refused=lambda _: None
    )
    file.start("never")
    assert not file.reload()
    assert file.current() == 7
    file.stop()


def test_the_watcher_sees_a_file_that_was_moved_into_place(watched: Watched) -> None:
    watched.file.start("number")
    try:
        while not watched.swap_seen.is_set():
            # Again and again, because the watch begins a moment after start() returns.
            beside = watched.path.with_suffix(".tmp")
            beside.write_text("2", encoding="utf-8")
            beside.replace(watched.path)
            watched.swap_seen.wait(0.2)
    finally:
        watched.file.stop()
    assert watched.swapped == [2]


def test_what_cannot_be_read_or_parsed_is_a_fault_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigFaults, match=r"numbers_path = .*absent\.txt: cannot be read"):
        read_text(tmp_path / "absent.txt", what="numbers_path")
    with pytest.raises(ConfigFaults, match=r"here\.txt: 'x' is no number"):
        parsed(tmp_path / "here.txt", "x", number)
