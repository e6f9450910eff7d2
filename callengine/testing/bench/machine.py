"""What the machine says about a process and itself: CPU time, memory, threads, sockets, cores.

Read from `/proc` and the clocks of other processes, so that nobody has to be asked.
"""

from __future__ import annotations

import os
import platform
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cores:
    """Where things run: `engine` is None where there is no core for the engine alone."""

    engine: int | None
    load: frozenset[int]


@dataclass(frozen=True, slots=True)
class Sample:
    """A process and its descendants at one moment. `core_busy_s` is how long its core was at work,
    for whomever; 0 if it has no core of its own."""

    at: float
    core_busy_s: float
    cpu_s: float
    rss_bytes: int
    threads: int


def choose_cores() -> Cores:
    """The engine alone on the last core that this process may use, the load on the others."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        return Cores(None, frozenset(usable))
    return Cores(usable[-1], frozenset(usable[:-1]))


@contextmanager
def running_on(cores: frozenset[int]) -> Iterator[None]:
    """Keep this thread, and what it starts, to these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def sample(pid: int, core: int | None) -> Sample:
    """A process and all that it started, on that core."""
    family = list(_family(pid))
    return Sample(
        time.monotonic(),
        0.0 if core is None else _busy_s(core),
        sum(map(_cpu_s, family)),
        sum(map(_rss_bytes, family)),
        sum(len(_listed(each, "task")) for each in family),
    )


def sockets(pid: int) -> int:
    """How many are open in a process and all that it started."""
    return sum(map(_sockets, _family(pid)))


def load_average() -> float:
    """Of the last minute."""
    return round(os.getloadavg()[0], 2)


def describe() -> dict[str, object]:
    """What figures depend on."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
    }


def _family(pid: int) -> Iterator[int]:
    yield pid
    for task in _listed(pid, "task"):
        with suppress(OSError):
            children = Path(f"/proc/{pid}/task/{task}/children").read_text("ascii")
            for child in children.split():
                yield from _family(int(child))


def _cpu_s(pid: int) -> float:
    """Of all threads it has and had: the clock that clock_getcpuclockid(3) gives."""
    with suppress(OSError):
        return time.clock_gettime(~pid << 3 | 2)
    return 0.0


def _busy_s(core: int) -> float:
    """All time but idle, that which another guest of the host took included."""
    with suppress(OSError):
        for line in Path("/proc/stat").read_text("ascii").splitlines():
            name, *ticks = line.split()
            if name == f"cpu{core}":
                user, nice, system, _, _, irq, softirq, steal = map(int, ticks[:8])
                return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S
    return 0.0


def _rss_bytes(pid: int) -> int:
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
    return 0


def _sockets(pid: int) -> int:
    found = 0
    for number in _listed(pid, "fd"):
        with suppress(OSError):
            found += str(Path(f"/proc/{pid}/fd/{number}").readlink()).startswith("socket:")
    return found


def _listed(pid: int, what: str) -> list[str]:
    with suppress(OSError):
        return [each.name for each in Path(f"/proc/{pid}/{what}").iterdir()]
    return []


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
