"""What all calls of a running engine share: threads, the journal, the way to Twilio's account API.

It begins with the first call and ends with the engine.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from loguru import logger

from callengine.actors.call import Setting
from callengine.actors.loop import Loop
from callengine.actors.threads import BlockingActors, Threads
from callengine.edges.realtime import RealtimeSocket
from callengine.edges.twilio_rest import TwilioRest
from callengine.logs import CallLog
from callengine.machines.strain import Ballast, Strain
from callengine.reception import Businesses, Reception
from callengine.records import CallBegan, CallFinished, EventNoted, TurnTaken

if TYPE_CHECKING:
    from callengine.actors.journal import Journal
    from callengine.agent import Agent, AgentChoice
    from callengine.metrics import Metrics
    from callengine.records import Record
    from callengine.security.tickets import Redeems
    from callengine.settings import Settings
    from callengine.store import Store

BLOCKED_TIMEOUT_S: Final = 0.5
"""What blocks, such as the host's code, is waited for this long when the engine stops; then its
thread is left alone."""

SOCKETS_TIMEOUT_S: Final = 3.0
"""Sockets say goodbye for two at most, and are cut then."""

MAX_CONNECTING: Final = 32
"""Calls that connect to their model at the same time; more wait."""

JOURNAL_ACTORS: Final = 2

JOURNAL_TIMEOUT_S: Final = 2.0
"""What the database has not taken by then waits in the spill file."""

BALLAST: Final = {EventNoted: Ballast.DIAGNOSTICS, TurnTaken: Ballast.RECORDINGS}
"""Records that a strained engine does not write down."""


@dataclass(frozen=True, slots=True)
class Staged:
    """What a new call is given: where it runs, who answers it, the way to its model."""

    setting: Setting
    agent: Agent | AgentChoice
    model: RealtimeSocket
    loop: Loop
    host_threads: Threads


class Backstage:
    """The threads of an engine, and what its calls reach through them."""

    def __init__(
        self,
        settings: Settings,
        fallback_agent: Agent,
        store: Store | None,
        metrics: Metrics,
        *,
        strain: Strain | None = None,
    ) -> None:
        self._strain = strain or Strain()
        self._fallback_agent = fallback_agent
        self._metrics = metrics
        self._businesses = Businesses(store) if store is not None else None
        token = settings.twilio_auth_token
        self._redirect = TwilioRest(token, settings.twilio_api_url).redirect if token else None
        self._settings = settings
        self._loop = Loop(self._strain.alarms.note, self._strain.looks.note)
        self._host_threads = Threads("callengine-host", settings.host_threads)
        self._connecting = Threads("callengine-connect", MAX_CONNECTING)
        self._writing = Threads("callengine-journal", JOURNAL_ACTORS)
        self._host_code = BlockingActors(self._loop, self._host_threads)
        try:
            self._journal = None if store is None else self._start_journal(settings, store)
        except BaseException:
            self._stop_threads()
            raise

    @property
    def mailbox_depth(self) -> int:
        """Messages that wait for their actors."""
        return self._loop.waiting

    @property
    def journal_waiting(self) -> int:
        """Records that are not in the database yet."""
        if self._journal is None:
            return 0
        return self._journal.waiting + self._journal.counts.in_file

    def stage(self, agent: Agent | AgentChoice, tickets: Redeems | None) -> Staged:
        """What a new call is given."""
        fallback, reception, settings = self._fallback_agent, None, self._settings
        if self._businesses is not None:
            reception = Reception(agent, fallback, self._businesses)
        setting = Setting(
            media=self._loop,
            blocking=self._host_code,
            log=CallLog(lambda: self._sheds(Ballast.DIAGNOSTICS)),
            tickets=tickets,
            stand_in=reception.stand_in if reception is not None else lambda _: fallback,
            redirect=self._redirect,
            note=self._note,
        )
        model = RealtimeSocket(
            self._loop,
            self._connecting,
            settings.model_address(),
            settings.openai_api_key,
            setting.log.logger,
        )
        return Staged(setting, reception or agent, model, self._loop, self._host_threads)

    def stop(self) -> None:
        """End the journal and give back the threads. No call may be running."""
        if self._journal is not None:
            self._journal.stop(JOURNAL_TIMEOUT_S)
        self._stop_threads()

    def _start_journal(self, settings: Settings, store: Store) -> Journal:
        # Engines without a store need neither, nor POSIX locks.
        from callengine.actors.journal import start_journal
        from callengine.edges.spill import Spill

        spill = Spill(settings.spill_path, logger)
        dispatcher = BlockingActors(self._loop, self._writing)
        return start_journal(dispatcher, store.write, spill, log=logger)

    def _stop_threads(self) -> None:
        self._host_threads.stop(BLOCKED_TIMEOUT_S)
        self._loop.stop(SOCKETS_TIMEOUT_S)
        self._connecting.stop(BLOCKED_TIMEOUT_S)
        self._writing.stop(BLOCKED_TIMEOUT_S)

    def _note(self, record: Record) -> None:
        if isinstance(record, CallBegan):
            self._metrics.call_began()
        if isinstance(record, CallFinished):
            self._metrics.call_ended(record.summary)
        if self._journal is not None:
            ballast = BALLAST.get(type(record))
            if ballast is None or not self._sheds(ballast):
                self._journal.note(record)

    def _sheds(self, what: Ballast) -> bool:
        return self._strain.sheds(what, time.monotonic())
