"""What a host may measure: the protocol its metrics satisfy, and the default that measures nothing.

Counters and histograms are read off a call's summary at its end, gauges off the engine when they
are asked for: nothing happens per frame. What is measured is said by `instruments`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from callengine.logs import trace_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from callengine.logs import QuietLog
    from callengine.summary import CallSummary


class EngineView(Protocol):
    """What can be seen of an engine at any time, from any thread.

    Once it is stopped all are 0, but for what only ever grows.
    """

    @property
    def active_calls(self) -> int:
        """Calls in progress."""

    @property
    def slots_free(self) -> int:
        """Calls that would be admitted now."""

    @property
    def draining(self) -> bool:
        """It takes no more calls, and waits for those in progress."""

    @property
    def strained(self) -> bool:
        """It runs late: it takes no new calls, and leaves out what is not audio."""

    @property
    def shed(self) -> Mapping[str, int]:
        """What was left out so far: `calls`, `diagnostics`, `recordings`."""

    @property
    def mailbox_depth(self) -> int:
        """Messages that wait for their actors: a few, unless there is too much to do."""

    @property
    def journal_waiting(self) -> int:
        """Records that are not in the database yet."""


class Metrics(Protocol):
    """Told of every call, by a thread that also paces others: what takes long is done elsewhere."""

    def call_began(self) -> None:
        """A stream started."""

    def call_ended(self, summary: CallSummary) -> None:
        """A call is over, maybe one whose stream never started."""

    def watch(self, view: EngineView) -> None:
        """An engine started: from now on its gauges can be read."""


class NoMetrics:
    """Measures nothing."""

    def call_began(self) -> None:
        """See `Metrics`."""

    def call_ended(self, summary: CallSummary) -> None:
        """See `Metrics`."""

    def watch(self, view: EngineView) -> None:
        """See `Metrics`."""


class GuardedMetrics:
    """Metrics of a host as the engine uses them: whatever they raise is logged, and no more."""

    def __init__(self, metrics: Metrics, log: QuietLog) -> None:
        self._metrics = metrics
        self._log = log

    def call_began(self) -> None:
        """See `Metrics`."""
        with self._guard():
            self._metrics.call_began()

    def call_ended(self, summary: CallSummary) -> None:
        """See `Metrics`."""
        with self._guard():
            self._metrics.call_ended(summary)

    def watch(self, view: EngineView) -> None:
        """See `Metrics`."""
        with self._guard():
            self._metrics.watch(view)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - the host's code may raise anything
            self._log.warning("metrics failed", **trace_of(error))
