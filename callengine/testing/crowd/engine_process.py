"""An engine in a process of its own, and what that process holds.

Apart from the simulators, so that neither their work nor their memory is taken for the engine's.
"""

from __future__ import annotations

import gc
import multiprocessing
import queue
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import pykka

from callengine.actors.loop import Loop
from callengine.actors.shell import Shell
from callengine.agent import Agent
from callengine.edges.standalone import StandaloneServer
from callengine.edges.stream import Stream
from callengine.engine import CallEngine
from callengine.machines.conversation import Conversation
from callengine.machines.transmission import Transmission

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import TracebackType

    from callengine.settings import Settings
    from callengine.summary import CallSummary

ANSWER_S: Final = 30.0
_WATCHED: Final = {Shell, Stream, Transmission, Conversation}


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process holds. `files` and `rss_bytes` are 0 where the system does not tell.

    `objects` counts what calls are made of, by class; `alarms` are those waiting for their time;
    `blocks` is what the interpreter has allocated, which tells of a single object that is left.
    """

    calls: int
    threads: tuple[str, ...]
    files: int
    actors: int
    alarms: int
    blocks: int
    rss_bytes: int
    objects: dict[str, int]
    cpu_s: float


class EngineProcess:
    """A `StandaloneServer` in a new process; a context manager. Summaries arrive in `summaries`."""

    def __init__(self, settings: Settings, agent: Agent | None = None) -> None:
        self.summaries: queue.SimpleQueue[CallSummary] = queue.SimpleQueue()
        self.media_url = ""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._answers: queue.SimpleQueue[Holdings] = queue.SimpleQueue()
        self._process = context.Process(
            target=_serve, args=(theirs, settings, agent or Agent()), daemon=True
        )
        self._theirs = theirs
        self._reader = threading.Thread(target=self._read, name="engine-process")

    def __enter__(self) -> Self:
        self._process.start()
        self._theirs.close()
        self.media_url = self._pipe.recv()
        self._reader.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pipe.send("end")
        self._process.join(ANSWER_S)
        self._reader.join(ANSWER_S)
        self._pipe.close()
        self._process.close()

    def holdings(self) -> Holdings:
        """What the process holds now, garbage collected."""
        return self._ask("holdings")

    def stop(self) -> Holdings:
        """Stop the server and its engine; what the process still holds then."""
        return self._ask("stop")

    def _ask(self, request: str) -> Holdings:
        self._pipe.send(request)
        return self._answers.get(timeout=ANSWER_S)

    def _read(self) -> None:
        while True:
            try:
                told = self._pipe.recv()
            except EOFError:
                return
            if isinstance(told, Holdings):
                self._answers.put(told)
            else:
                self.summaries.put(told)


def _serve(pipe: Connection, settings: Settings, agent: Agent) -> None:
    """The other process."""
    writing = threading.Lock()

    def tell(what: object) -> None:
        with writing:
            pipe.send(what)

    engine = CallEngine(settings, agent=agent)
    with StandaloneServer(engine, on_call=tell) as server:
        tell(server.media_url)
        while (request := pipe.recv()) != "end":
            if request == "stop":
                server.stop()
            tell(_holdings(engine))


def _holdings(engine: CallEngine) -> Holdings:
    gc.collect()
    objects = gc.get_objects()
    loops = [each for each in objects if type(each) is Loop]
    # Not isinstance: asked about every type there is, an abstract base remembers them all.
    watched = Counter(type(each).__name__ for each in objects if _WATCHED & {*type(each).__mro__})
    del objects
    status = Path("/proc/self/statm")
    files = Path("/proc/self/fd")
    return Holdings(
        calls=engine.active_calls,
        threads=tuple(thread.name for thread in threading.enumerate()),
        files=len(list(files.iterdir())) if files.is_dir() else 0,
        actors=len(pykka.ActorRegistry.get_all()),
        alarms=sum(len(each._due) for each in loops),  # noqa: SLF001 - nobody else asks
        blocks=sys.getallocatedblocks(),
        rss_bytes=int(status.read_text().split()[1]) * 4096 if status.is_file() else 0,
        objects=dict(watched),
        cpu_s=time.process_time(),
    )
