"""The local file: in order, on the disk, nobody else's, and found by the next process."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from callengine.edges import spill as module
from callengine.edges.spill import Spill
from callengine.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINES = [b"one\n", b"two\n", b"three\n"]
DEAD = 4_999_999
"""No process has this number."""


class Opened:
    """Spills of a test, closed at its end."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self._spills: list[Spill] = []

    def __call__(self, path: str | None = "", **limits: int) -> Spill:
        spill = Spill(self.path if path == "" else path, logger, **limits)
        self._spills.append(spill)
        return spill

    def close(self) -> None:
        for spill in self._spills:
            spill.close()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    opened = Opened(str(tmp_path / "calls"))
    yield opened
    opened.close()


def files(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def own(tmp_path: Path, suffix: str = "") -> Path:
    return tmp_path / f"calls.{os.getpid()}{suffix}"


def test_lines_come_back_in_order(opened: Opened) -> None:
    spill = opened()
    assert spill.append(LINES[:2]) == 2
    assert spill.append(LINES[2:]) == 1
    assert spill.read(2) == LINES[:2]
    assert spill.read(10) == LINES
    spill.forget(1)
    assert spill.waiting == 2
    assert spill.read(10) == LINES[1:]
    spill.append([b"four\n"])
    spill.forget(1)
    assert spill.read(10) == [b"three\n", b"four\n"]


def test_there_is_a_file_only_while_something_waits(opened: Opened, tmp_path: Path) -> None:
    spill = opened()
    assert files(tmp_path) == []
    spill.append(LINES)
    assert files(tmp_path) == [own(tmp_path).name]
    assert own(tmp_path).read_bytes() == b"".join(LINES)
    spill.forget(3)
    assert files(tmp_path) == []
    spill.append(LINES)
    assert spill.read(3) == LINES


def test_only_the_user_may_read_it(opened: Opened, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        opened().append(LINES)
    finally:
        os.umask(before)
    assert own(tmp_path).stat().st_mode & 0o777 == 0o600


def test_lines_are_on_the_disk_before_they_count(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(own(tmp_path).read_bytes()))
    opened().append(LINES)
    assert synced[-1] == b"".join(LINES)


def test_what_a_closed_one_leaves_is_adopted(opened: Opened, tmp_path: Path) -> None:
    first = opened()
    first.append(LINES)
    first.forget(1)
    first.close()
    second = opened()
    assert second.read(10) == LINES  # how far the first had come is not written down
    second.append([b"four\n"])
    second.forget(2)
    assert second.read(10) == [b"three\n", b"four\n"]
    second.forget(2)
    assert files(tmp_path) == []


def test_files_of_the_dead_are_adopted_the_oldest_first(opened: Opened, tmp_path: Path) -> None:
    for age, name in enumerate([f"calls.{DEAD}-3", f"calls.{DEAD}", f"calls.{DEAD + 1}"]):
        path = tmp_path / name
        path.write_bytes(f"{name}\n".encode())
        os.utime(path, (1000 - age, 1000 - age))
    (tmp_path / "calls.backup").write_text("not ours\n")
    (tmp_path / "calls").write_text("not ours\n")
    (tmp_path / f"other.{DEAD}").write_text("not ours\n")
    spill = opened()
    names = [f"calls.{DEAD + 1}\n", f"calls.{DEAD}\n", f"calls.{DEAD}-3\n"]
    assert spill.read(10) == [name.encode() for name in names]
    assert spill.waiting == 3
    spill.forget(3)
    assert files(tmp_path) == ["calls", "calls.backup", f"other.{DEAD}"]


def test_a_batch_may_come_from_several_files(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / f"calls.{DEAD}").write_bytes(b"a\nb\n")
    spill = opened()
    spill.append([b"c\n", b"d\n"])
    assert spill.read(3) == [b"a\n", b"b\n", b"c\n"]
    spill.forget(3)
    assert spill.read(3) == [b"d\n"]


def test_a_torn_last_line_stands_alone(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / f"calls.{DEAD}").write_bytes(b"whole\nto")
    spill = opened()
    assert spill.waiting == 2
    spill.append([b"new\n"])
    assert spill.read(10) == [b"whole\n", b"to\n", b"new\n"]


def test_the_file_of_one_that_lives_is_left_alone(opened: Opened, tmp_path: Path) -> None:
    first, second = opened(), opened()
    first.append([b"first\n"])
    second.append([b"second\n"])
    third = opened()
    assert third.waiting == 0
    assert third.read(10) == []
    assert files(tmp_path) == [own(tmp_path).name, own(tmp_path, "-1").name]
    assert first.read(10) == [b"first\n"]
    assert second.read(10) == [b"second\n"]


def test_what_one_of_our_pid_left_later_is_not_mixed_with_ours(
    opened: Opened, tmp_path: Path
) -> None:
    spill = opened()
    own(tmp_path).write_bytes(b"of another container\n")
    spill.append(LINES)
    assert spill.read(10) == LINES
    assert own(tmp_path).read_bytes() == b"of another container\n"
    assert opened().read(10) == [b"of another container\n"]


CHILD = """
import os, signal, sys
from loguru import logger
from callengine.edges.spill import Spill
spill = Spill(sys.argv[1], logger)
spill.append([b"adopted by nobody yet\\n"])
print(os.getpid(), flush=True)
sys.stdin.readline()
"""


def test_a_process_that_is_killed_leaves_its_lines_to_the_next(
    opened: Opened, tmp_path: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "calls")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert int(child.stdout.readline()) == child.pid
        assert opened().waiting == 0
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert opened().read(10) == [b"adopted by nobody yet\n"]


def test_two_that_start_at_once_do_not_adopt_the_same(opened: Opened, tmp_path: Path) -> None:
    (tmp_path / f"calls.{DEAD}").write_bytes(b"a\n")
    assert [opened().waiting, opened().waiting] == [1, 0]


def test_one_that_was_removed_while_its_lock_was_waited_for_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"calls.{DEAD}"
    path.write_bytes(b"a\n")
    flock = module.fcntl.flock

    def removed_before(descriptor: int, how: int) -> None:
        path.unlink()
        flock(descriptor, how)

    monkeypatch.setattr(module.fcntl, "flock", removed_before)
    assert module._lock(path) is None


@pytest.mark.parametrize(
    "make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/etc/hosts")]
)
def test_what_is_no_file_of_ours_is_left_alone(
    opened: Opened, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / f"calls.{DEAD}")
    assert opened().waiting == 0


def test_nothing_is_written_where_a_link_points(tmp_path: Path) -> None:
    own(tmp_path).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError):
        Spill(str(tmp_path / "calls"), logger)
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_adopted_is_closed_to_others(opened: Opened, tmp_path: Path) -> None:
    path = tmp_path / f"calls.{DEAD}"
    path.write_bytes(b"a\n")
    path.chmod(0o644)
    assert opened().waiting == 1
    assert path.stat().st_mode & 0o777 == 0o600


def test_beyond_its_size_the_newest_is_not_taken(opened: Opened) -> None:
    spill = opened(max_bytes=8)
    assert spill.append(LINES) == 2
    assert spill.append([b"x\n"]) == 0
    assert spill.read(10) == LINES[:2]
    spill.forget(2)
    assert spill.append([b"three\n"]) == 1


def failing(whole: int, number: int) -> Callable[[int, bytes, int], int]:
    """A disk with room for so many bytes more."""
    pwrite = os.pwrite

    def write(descriptor: int, data: bytes, offset: int) -> int:
        nonlocal whole
        if whole == 0:
            raise OSError(number, "no room")
        written = pwrite(descriptor, data[:whole], offset)
        whole -= written
        return written

    return write


@pytest.mark.parametrize(("room", "kept"), [(0, 0), (3, 0), (4, 1), (9, 2), (13, 2)])
def test_a_full_disk_takes_whole_lines(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, kept: int
) -> None:
    spill = opened()
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", failing(room, errno.ENOSPC))
        assert spill.append(LINES) == kept
    assert own(tmp_path).read_bytes() == b"".join(LINES[:kept])
    assert spill.append([b"later\n"]) == 1
    assert spill.read(10) == [*LINES[:kept], b"later\n"]


def test_what_the_disk_does_not_confirm_does_not_count(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    spill = opened()
    spill.append(LINES[:1])

    def broken(_: int) -> None:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", broken)
        assert spill.append(LINES[1:]) == 0
    assert spill.append([b"later\n"]) == 1
    assert spill.read(10) == [b"one\n", b"later\n"]


def test_a_folder_that_is_gone_takes_nothing_and_raises_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    spill = Spill(str(folder / "calls"), logger)
    folder.rmdir()
    assert spill.append(LINES) == 0
    folder.mkdir()
    assert spill.append(LINES) == 3
    spill.forget(3)
    spill.close()


def test_a_path_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"spill_path is .*No such file"):
        Spill(str(tmp_path / "missing" / "calls"), logger)


def test_without_a_path_it_is_temporary(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spill = opened(None)
    assert files(tmp_path) == []
    spill.append(LINES)
    (folder,) = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert opened(None).waiting == 0
    spill.forget(3)
    assert files(tmp_path) == []


def test_one_that_is_cut_short_by_somebody_else_gives_what_is_there(
    opened: Opened, tmp_path: Path
) -> None:
    spill = opened()
    spill.append(LINES)
    os.truncate(own(tmp_path), 4)
    assert spill.read(10) == LINES[:1]
    spill.forget(3)
    assert spill.waiting == 0


@given(st.lists(st.integers(1, 4) | st.integers(-4, -1), max_size=30))
def test_it_is_a_queue(steps: list[int]) -> None:
    """Positive: append so many; negative: forget so many."""
    with tempfile.TemporaryDirectory() as folder:
        spill, expected, told = Spill(f"{folder}/calls", logger), list[bytes](), 0
        for step in steps:
            if step > 0:
                lines = [f"{told + n}\n".encode() for n in range(step)]
                told += step
                assert spill.append(lines) == step
                expected += lines
            else:
                count = min(-step, spill.waiting)
                spill.forget(count)
                del expected[:count]
            assert spill.waiting == len(expected)
            assert spill.read(3) == expected[:3]
        assert spill.read(1000) == expected
        spill.close()
