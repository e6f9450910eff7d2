"""One telephone call on this machine: a simulated caller, the real engine, a simulated model.

Everything between them is real: WebSockets on loopback, threads, the clock.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from callengine.agent import Agent
from callengine.edges.standalone import StandaloneServer
from callengine.engine import CallEngine
from callengine.errors import EngineStopped, SettingsError
from callengine.holding.live import END_TIMEOUT_S
from callengine.settings import Settings
from callengine.testing import speech
from callengine.testing.caller.caller import SimulatedCaller
from callengine.testing.caller.script import BargeIn, Say, Step, WaitUntil, WaitUntilQuiet
from callengine.testing.realtime.script import Behaviour, Reply, said
from callengine.testing.realtime.server import SimulatedRealtime
from callengine.testing.sockets import PeerServer, run_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.summary import CallSummary
    from callengine.testing.caller.record import CallRecord
    from callengine.testing.realtime.record import Record

LEAST_SECONDS: Final = 36
"""Room for a greeting and three barge-ins."""

OVER_GREETING: Final = "over the greeting"
"""The label of the barge-in that the engine must not act on."""

SETTLE_S: Final = 1.0

_OPENING_S: Final = 34
_ROUND_S: Final = 13
_PATIENCE_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process holds that a call must give back."""

    threads: int
    sockets: int

    @classmethod
    def now(cls) -> Resources:
        """Count them; sockets are 0 where the system does not list a process's files."""
        return cls(threading.active_count(), sum(map(_is_socket, _open_files())))

    @classmethod
    def back_to(cls, before: Resources) -> Resources:
        """Count them as soon as there are no more than before; after a second, as many as are left.

        The thread of a socket takes a moment to end after the socket was closed.
        """
        until = time.monotonic() + SETTLE_S
        after = cls.now()
        while after.exceeds(before) and time.monotonic() < until:
            time.sleep(0.01)
            after = cls.now()
        return after

    def exceeds(self, before: Resources) -> bool:
        """There are more of either than before."""
        return self.threads > before.threads or self.sockets > before.sockets


def _open_files() -> list[Path]:
    listing = Path("/proc/self/fd")
    return list(listing.iterdir()) if listing.is_dir() else []


def _is_socket(file: Path) -> bool:
    try:
        return str(file.readlink()).startswith("socket:")
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class LocalCall:
    """A call as each of the three saw it. `model` is None if the model was the real one."""

    caller: CallRecord
    model: Record | None
    summary: CallSummary
    before: Resources
    after: Resources


def script(seconds: int) -> list[Step]:
    """What the caller does: interrupts the greeting, which is protected, then one reply while the
    model still generates it and one when it is done, and then asks questions until time is up."""
    if seconds < LEAST_SECONDS:
        raise SettingsError(f"{seconds} seconds are too few; a call takes {LEAST_SECONDS} or more")
    steps: list[Step] = [
        BargeIn(speech.clip("caller_barge_in_1"), 1.0, OVER_GREETING),
        WaitUntilQuiet(0.7, _PATIENCE_S),
        _ask(1),
        BargeIn(speech.clip("caller_barge_in_2"), 0.5, "while the model generates"),
        BargeIn(speech.clip("caller_barge_in_3"), 4.0, "after the model is done"),
        WaitUntilQuiet(0.7, _PATIENCE_S),
    ]
    for n in range((seconds - _OPENING_S) // _ROUND_S):
        steps += [_ask(n % 4 + 1), WaitUntilQuiet(0.7, _PATIENCE_S)]
    return [*steps, WaitUntil(seconds)]


def _ask(number: int) -> Say:
    name = f"caller_question_{number}"
    return Say(speech.clip(name), speech.text(name))


def replies() -> list[Reply]:
    """What the simulated model says."""
    return [said("agent_greeting"), *(said(f"agent_reply_{n}") for n in (3, 1, 2, 5, 6, 4))]


def hold_call(
    seconds: int,
    seed: int,
    *,
    settings: Settings | None = None,
    on_progress: Callable[[float, CallRecord], None] | None = None,
) -> LocalCall:
    """Hold one call, with the simulated model, or with that of `settings`.

    `on_progress` is called about 50 times a second with the seconds since the call began.
    """
    before = Resources.now()
    if settings is None:
        with PeerServer(lambda: _model(seed)) as server:
            local = Settings.from_env({}, realtime_url=server.url)
            caller, summary = _call(seconds, seed, local, on_progress)
        model = cast("SimulatedRealtime", server.peers[0]).record
    else:
        settings.require_key()
        unsigned = replace(settings, validate_signatures=False)  # the caller is this process
        caller, summary = _call(seconds, seed, unsigned, on_progress)
        model = None
    return LocalCall(caller, model, summary, before, Resources.back_to(before))


def _model(seed: int) -> SimulatedRealtime:
    # On a network it takes a while until the server has heard: our own detection comes first.
    return SimulatedRealtime(replies(), behaviour=Behaviour(latency_s=0.04), seed=seed)


def _call(
    seconds: int,
    seed: int,
    settings: Settings,
    on_progress: Callable[[float, CallRecord], None] | None,
) -> tuple[CallRecord, CallSummary]:
    caller = SimulatedCaller(script(seconds), seed=seed)
    deadline_s = 2 * seconds + _PATIENCE_S
    summaries: queue.SimpleQueue[CallSummary] = queue.SimpleQueue()

    def progress(elapsed_s: float) -> None:
        if on_progress is not None:
            on_progress(elapsed_s, caller.record)

    engine = CallEngine(settings, agent=Agent())
    with StandaloneServer(engine, on_call=summaries.put) as server:
        try:
            run_client(caller, server.media_url, deadline_s=deadline_s, on_progress=progress)
            # A call that is stopped meanwhile would not be counted to its end.
            summary = summaries.get(timeout=END_TIMEOUT_S)
        except queue.Empty:
            raise EngineStopped("the call ended without a summary; --verbose says why") from None
        finally:
            server.stop()
    return caller.record, summary
