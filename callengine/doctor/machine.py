"""This machine: its Python, ports, files and clocks."""

from __future__ import annotations

import email.utils
import http.client
import importlib.util
import math
import platform
import socket
import threading
import time
from typing import Final
from urllib.parse import urlsplit

from callengine.doctor.finding import Finding, Level
from callengine.security.tickets import LIFETIME_S

FRAME_MS: Final = 20
FILES_PER_CALL: Final = 4
"""Two sockets, and as many again while old ones are still closing."""
FILES_BESIDE: Final = 64
DATE_TIMEOUT_S: Final = 5.0
MEASURE_S: Final = 0.3
WAKE_EVERY_S: Final = 0.005
SANE_AFTER: Final = 1_735_689_600
"""2025 began: a clock before that was never set."""


def python() -> Finding:
    """The interpreter, and what it may lack."""
    told = f"{platform.python_implementation()} {platform.python_version()}"
    if importlib.util.find_spec("audioop") is None:
        return Finding(Level.FAIL, "python", f"{told} without audioop", "pip install audioop-lts")
    return Finding(Level.OK, "python", told)


def port(number: int) -> Finding:
    """Nobody listens there yet."""
    with socket.socket() as plug:
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            plug.bind(("", number))
        except (OSError, OverflowError) as error:
            told = getattr(error, "strerror", None) or "ports end at 65535"
            fix = "stop what listens there (ss -ltnp), or take another port"
            return Finding(Level.FAIL, "port", f"{number} cannot be had: {told}", fix)
    return Finding(Level.OK, "port", f"{number} is free")


def open_files(max_calls: int) -> Finding:
    """As many sockets as calls need may be open."""
    needed = max_calls * FILES_PER_CALL + FILES_BESIDE
    try:
        import resource
    except ImportError:
        return Finding(Level.OK, "open files", "this system has no such limit")
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < needed:
        told = f"{limit} may be open at once, and {max_calls} calls take {needed}"
        fix = f"ulimit -n {needed} (systemd: LimitNOFILE={needed}), or lower CALLENGINE_MAX_CALLS"
        return Finding(Level.FAIL, "open files", told, fix)
    return Finding(Level.OK, "open files", f"enough for {max_calls} calls")


def lateness_ms() -> list[float]:
    """How late a waiting thread of this machine wakes up, measured for `MEASURE_S`, sorted."""
    never = threading.Event()
    late = []
    for _ in range(round(MEASURE_S / WAKE_EVERY_S)):
        due = time.monotonic() + WAKE_EVERY_S
        never.wait(WAKE_EVERY_S)
        late.append((time.monotonic() - due) * 1000)
    return sorted(late)


def timers(lead_ms: int) -> Finding:
    """Threads wake up in time: what is later than the lead is a gap in what callers hear."""
    resolution_ms = time.get_clock_info("monotonic").resolution * 1000
    late = lateness_ms()
    p99 = late[math.ceil(0.99 * len(late)) - 1]
    told = f"p99 {p99:.1f} ms late, worst {late[-1]:.1f} ms"
    fix = "give it cores of its own (no CPU limit below one core), and less beside the calls"
    if resolution_ms > FRAME_MS / 4:
        told = f"the clock has steps of {resolution_ms:.0f} ms; a frame has {FRAME_MS} ms"
        return Finding(Level.FAIL, "timers", told, "run on a system with a finer clock")
    if p99 > lead_ms:
        return Finding(Level.FAIL, "timers", f"{told}: callers would hear gaps", fix)
    if p99 > FRAME_MS:
        return Finding(Level.WARN, "timers", f"{told}: more than a frame", fix)
    return Finding(Level.OK, "timers", told)


def clock(compare_with: str | None) -> Finding:
    """Tickets are dated by the wall clock, and redeemed on another machine perhaps.

    `compare_with` is the URL of a server that tells the time, if it may be asked.
    """
    fix = "synchronise the clock (chrony, systemd-timesyncd)"
    if time.time() < SANE_AFTER:
        return Finding(Level.FAIL, "clock", f"it is {time.strftime('%Y-%m-%d')} here", fix)
    off_s = None if compare_with is None else _seconds_off(compare_with)
    if off_s is None:
        return Finding(Level.OK, "clock", "was set")
    told = f"{off_s:+.0f} s from that of the model's host"
    if abs(off_s) > LIFETIME_S / 2:
        told += f", and tickets live {LIFETIME_S:.0f} s"
        return Finding(Level.FAIL, "clock", told, fix)
    return Finding(Level.OK, "clock", told)


def _seconds_off(url: str) -> float | None:
    """Our clock less that of the server at `url`, to the second; None if it does not tell."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=DATE_TIMEOUT_S)
    try:
        connection.request("HEAD", "/")
        date = connection.getresponse().getheader("Date")
        return None if date is None else time.time() - _timestamp(date)
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _timestamp(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp()
