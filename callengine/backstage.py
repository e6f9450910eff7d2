"""What all calls of a running engine share: threads, the journal, the way to Twilio's account API.

It begins with the first call and ends with the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loguru import logger

from callengine.actors.call import Setting
from callengine.actors.dispatch import OwnThreads, Pool, Timers
from callengine.actors.journal import Journal, start_journal
from callengine.edges.twilio_rest import TwilioRest
from callengine.logs import CallLog
from callengine.reception import Businesses, Reception
from callengine.records import CallBegan, CallFinished

if TYPE_CHECKING:
    from callengine.agent import Agent, AgentChoice
    from callengine.metrics import Metrics
    from callengine.records import Record
    from callengine.security.tickets import Tickets
    from callengine.settings import Settings
    from callengine.store import Store

HOST_CODE_TIMEOUT_S: Final = 0.5
"""The host's code is waited for this long when the engine stops; then its thread is left alone."""

JOURNAL_TIMEOUT_S: Final = 2.0
"""What the database has not taken by then waits in the spill file."""


class Backstage:
    """The threads of an engine, and what its calls reach through them."""

    def __init__(
        self, settings: Settings, fallback_agent: Agent, store: Store | None, metrics: Metrics
    ) -> None:
        self._fallback_agent = fallback_agent
        self._metrics = metrics
        self._businesses = Businesses(store) if store is not None else None
        token = settings.twilio_auth_token
        self._redirect = TwilioRest(token, settings.twilio_api_url).redirect if token else None
        self._timers = Timers()
        self._pool = Pool(self._timers, workers=settings.workers)
        self._own_threads = OwnThreads(self._timers)
        try:
            self._journal = None if store is None else self._start_journal(settings, store)
        except BaseException:
            self._stop_threads()
            raise

    @property
    def mailbox_depth(self) -> int:
        """Mailboxes that wait for a worker."""
        return self._pool.waiting

    @property
    def journal_waiting(self) -> int:
        """Records that are not in the database yet."""
        if self._journal is None:
            return 0
        return self._journal.waiting + self._journal.counts.in_file

    def stage(
        self, agent: Agent | AgentChoice, tickets: Tickets | None
    ) -> tuple[Setting, Agent | AgentChoice]:
        """Where a new call runs, and who answers it."""
        fallback, reception = self._fallback_agent, None
        if self._businesses is not None:
            reception = Reception(agent, fallback, self._businesses)
        setting = Setting(
            media=self._pool,
            blocking=self._own_threads,
            log=CallLog(),
            tickets=tickets,
            stand_in=reception.stand_in if reception is not None else lambda _: fallback,
            redirect=self._redirect,
            note=self._note,
        )
        return setting, reception or agent

    def stop(self) -> None:
        """End the journal and give back the threads. No call may be running."""
        if self._journal is not None:
            self._journal.stop(JOURNAL_TIMEOUT_S)
        self._stop_threads()

    def _start_journal(self, settings: Settings, store: Store) -> Journal:
        from callengine.edges.spill import Spill  # it needs POSIX locks; engines without it do not

        spill = Spill(settings.spill_path, logger)
        return start_journal(self._own_threads, store.write, spill, log=logger)

    def _stop_threads(self) -> None:
        self._timers.stop()
        self._pool.stop()
        self._own_threads.stop(HOST_CODE_TIMEOUT_S)

    def _note(self, record: Record) -> None:
        if isinstance(record, CallBegan):
            self._metrics.call_began()
        if isinstance(record, CallFinished):
            self._metrics.call_ended(record.summary)
        if self._journal is not None:
            self._journal.note(record)
