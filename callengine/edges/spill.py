"""The local file that takes what the database cannot: lines, in order, until they are forgotten.

What a line says is not known here. A file exists while lines wait in it. Every process writes to
one of its own, `<path>.<pid>`, and holds a lock on it for as long as it lives; so a file that can
be locked was left behind by a process that is dead, and is adopted: its lines come before our own.
Lines are on the disk (fsync) when `append` returns. Only the process's user can read them (0600).
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import tempfile
from contextlib import suppress
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from callengine.errors import SettingsError
from callengine.logs import QuietLog, trace_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loguru import Logger

MAX_BYTES: Final = 256 * 1024 * 1024
"""Of our own file, what is forgotten in it included; beyond, the newest lines are not taken."""

MAX_NAMESAKES: Final = 100
"""Files of one pid: of containers that share the folder, or of several engines in one process."""

_CHUNK_BYTES: Final = 1024 * 1024


class Spill:
    """Lines that wait in files. One thread may use it at a time.

    With no path the file is a temporary one, which no later process finds. Raises SettingsError
    when no file can be written where it should be.
    """

    def __init__(self, path: str | None, log: Logger, *, max_bytes: int = MAX_BYTES) -> None:
        self._log = QuietLog(log)
        self._base = Path(path) if path is not None else None
        self._max_bytes = max_bytes
        self._own: _LockedFile | None = None
        self._files: list[_LockedFile] = []
        if self._base is None:
            return
        try:
            _new_file(self._base).close()
            self._files = _leftovers(self._base, self._log)
        except OSError as error:
            raise SettingsError(
                f"spill_path is {path!r}, and no file can be written there ({error.strerror}):"
                " name a file in a folder that this process may write to"
            ) from error
        if self._files:
            self._log.info("spill adopted", files=len(self._files), lines=self.waiting)

    @property
    def waiting(self) -> int:
        """Lines that are not forgotten."""
        return sum(file.lines for file in self._files)

    def append(self, lines: Sequence[bytes]) -> int:
        """Put lines, each with its end, behind all others; returns how many were taken."""
        try:
            own = self._own or self._begin_file()
        except OSError as error:
            self._log.error("spill failed", **trace_of(error))
            return 0
        fitting = list(takewhile(own.has_room(self._max_bytes), lines))
        kept, failure = own.append(b"".join(fitting))
        if failure is not None:
            self._log.error("spill failed", path=str(own.path), **trace_of(failure))
        elif kept < len(lines):
            self._log.error("spill full", path=str(own.path), max_bytes=self._max_bytes)
        return kept

    def read(self, most: int) -> list[bytes]:
        """The first `most` lines: fewer only if there are fewer. Raises OSError."""
        lines: list[bytes] = []
        for file in self._files:
            lines += file.read(most - len(lines))
        return lines

    def forget(self, count: int) -> None:
        """Drop the first `count` lines; a file of which nothing is left is removed."""
        for file in self._files.copy():
            here = min(count, file.lines)
            count -= here
            file.forget(here)
            if file.lines == 0:
                self._give_up(file)

    def close(self) -> None:
        """Give up the files: what waits in them is for another process."""
        for file in self._files.copy():
            if file.lines:
                self._log.warning("spill left behind", lines=file.lines, path=str(file.path))
            self._give_up(file)

    def _begin_file(self) -> _LockedFile:
        base = self._base or Path(tempfile.mkdtemp(prefix="callengine-"), "spill")
        self._own = _new_file(base)
        self._files.append(self._own)
        return self._own

    def _give_up(self, file: _LockedFile) -> None:
        self._files.remove(file)
        if file is self._own:
            self._own = None
        file.close()
        if self._base is None:
            with suppress(OSError):  # it is not empty
                file.path.parent.rmdir()


class _LockedFile:
    """One file that nobody else uses. `lines` are those that are not forgotten."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.written_at = os.fstat(descriptor).st_mtime
        self._descriptor = descriptor
        self._offset = 0
        self._forgotten = 0  # lines behind the offset that are to be passed over
        self._size, self.lines = _measure(descriptor)

    def has_room(self, max_bytes: int) -> Callable[[bytes], bool]:
        """Tells of one line after the other whether it still fits."""
        size = self._size

        def fits(line: bytes) -> bool:
            nonlocal size
            size += len(line)
            return size <= max_bytes

        return fits

    def append(self, blob: bytes) -> tuple[int, OSError | None]:
        """Write lines and wait for the disk; returns how many it took, and what went wrong.

        What a failed attempt leaves behind the last whole line is overwritten by the next one.
        """
        written, failure = 0, None
        try:
            while written < len(blob):
                written += os.pwrite(self._descriptor, blob[written:], self._size + written)
            os.fsync(self._descriptor)
        except OSError as error:
            failure = error
            written = self._keep(blob.rfind(b"\n", 0, written) + 1)
        kept = blob.count(b"\n", 0, written)
        self._size += written
        self.lines += kept
        return kept, failure

    def _keep(self, whole_bytes: int) -> int:
        """After a failure: how much of the whole lines is on the disk for sure."""
        try:
            os.ftruncate(self._descriptor, self._size + whole_bytes)
            os.fsync(self._descriptor)
        except OSError:
            return 0
        return whole_bytes

    def read(self, most: int) -> list[bytes]:
        """The first `most` lines."""
        with open(self._descriptor, "rb", closefd=False) as reader:
            reader.seek(self._offset)
            for _ in range(self._forgotten):
                reader.readline()
            self._offset, self._forgotten = reader.tell(), 0
            wanted = range(min(most, self.lines))
            return [line for _ in wanted if (line := reader.readline())]

    def forget(self, count: int) -> None:
        """Drop the first `count` lines."""
        self.lines -= count
        self._forgotten += count

    def close(self) -> None:
        """Unlock it; without lines it is removed."""
        if not self.lines:
            with suppress(OSError):
                self.path.unlink()
        os.close(self._descriptor)


def _measure(descriptor: int) -> tuple[int, int]:
    """Bytes and lines of a file. A last line that was torn off is ended, and is a line."""
    size = lines = 0
    last = b"\n"
    while chunk := os.pread(descriptor, _CHUNK_BYTES, size):
        size += len(chunk)
        lines += chunk.count(b"\n")
        last = chunk[-1:]
    if last != b"\n":
        size += os.pwrite(descriptor, b"\n", size)
        lines += 1
    return size, lines


def _new_file(base: Path) -> _LockedFile:
    """An empty file of this process. Raises OSError."""
    for number in range(MAX_NAMESAKES):
        name = f"{base.name}.{os.getpid()}" + (f"-{number}" if number else "")
        file = _lock(base.with_name(name), os.O_CREAT)
        if file is not None and not file.lines:
            _sync_folder(base.parent)
            return file
        if file is not None:  # left behind by one who had our pid
            file.close()
    raise FileExistsError(errno.EEXIST, "too many files of one pid")


def _leftovers(base: Path, log: QuietLog) -> list[_LockedFile]:
    """Files of processes that are dead, the oldest first. Raises OSError."""
    name = re.compile(re.escape(base.name) + r"\.\d+(-\d+)?")
    files = []
    for path in base.parent.iterdir():
        if not name.fullmatch(path.name):
            continue
        try:
            file = _lock(path)
        except OSError as error:
            log.warning("spill not adopted", path=str(path), **trace_of(error))
            continue
        if file is not None and file.lines:
            files.append(file)
        elif file is not None:
            file.close()
    return sorted(files, key=lambda file: file.written_at)


def _lock(path: Path, create: int = 0) -> _LockedFile | None:
    """The file, if it is ours and nobody has it. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | create, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_ours(path, descriptor):
            os.fchmod(descriptor, 0o600)
            return _LockedFile(path, descriptor)
    except BlockingIOError:
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_ours(path: Path, descriptor: int) -> bool:
    """A file of our user, and still there: one who had the lock may have removed it meanwhile."""
    opened = os.fstat(descriptor)
    try:
        is_named = os.path.samestat(opened, path.lstat())
    except FileNotFoundError:
        return False
    return is_named and stat.S_ISREG(opened.st_mode) and opened.st_uid == os.geteuid()


def _sync_folder(folder: Path) -> None:
    """Make a new file's name last, too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
