"""Puts one call together: seven actors, wired to each other and to the two sockets.

A call that cannot be put together is taken apart again, and has a summary all the same.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING
from uuid import uuid4

from callengine.actors.dispatch import Dispatcher, tell
from callengine.actors.host_calls import HostCalls
from callengine.actors.realtime_bridge import ModelLink, RealtimeBridge, brief_of
from callengine.actors.shell import Peers, Ref, call_when_handled, wait_until_handled
from callengine.actors.supervisor import Supervisor, Terms
from callengine.actors.twilio_ingress import TwilioIngress
from callengine.actors.tx_pacer import CarrierLink, TxPacer
from callengine.actors.vad_detector import VADDetector
from callengine.actors.watchdog import Watchdog
from callengine.agent import Agent
from callengine.audio.level import LevelDetector
from callengine.logs import QuietLog, trace_of
from callengine.machines.dialogue import Dialogue
from callengine.machines.lifecycle import CLOSE_CODES
from callengine.machines.metering import Budget
from callengine.machines.playout import FRAMES_PER_MARK
from callengine.machines.transmission import Transmission
from callengine.messages import CallEnding, CarrierClosed, CarrierMessage, EndCause
from callengine.records import CallFinished
from callengine.summary import CallFacts, CallSummary, summarise
from callengine.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from callengine.agent import AgentChoice
    from callengine.logs import CallLog
    from callengine.messages import StreamStarted
    from callengine.records import Record
    from callengine.security.tickets import Redeems
    from callengine.settings import Settings


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a call runs: `media` for actors that never wait, `blocking` for the host's code.

    `tickets` are what a start has to show one of; without them every start is welcome. `stand_in`
    names who answers when nobody else was found in time, and must not wait. `redirect` is
    `TwilioRest.redirect`, if there is a token for it; `note` takes what is worth writing down, and
    must not wait either.
    """

    media: Dispatcher
    blocking: Dispatcher
    log: CallLog
    tickets: Redeems | None = None
    stand_in: Callable[[StreamStarted], Agent] = lambda _: Agent()
    redirect: Callable[[str, str, str], None] | None = None
    note: Callable[[Record], None] = lambda _: None


class Call:
    """One call from the outside: what came off the carrier's socket goes in here.

    A call that could not begin has no actors, and nothing comes of what it is told.
    """

    def __init__(self, peers: Peers | None) -> None:
        self._peers = peers

    def received(self, message: str | bytes) -> None:
        """Tell what the carrier sent."""
        if self._peers is not None:
            tell(self._peers.ingress, CarrierMessage(message))

    def carrier_closed(self, code: int, reason: str) -> None:
        """Tell that the carrier's socket is gone."""
        if self._peers is not None:
            tell(self._peers.ingress, CarrierClosed(code, reason))

    def end(self, cause: EndCause, detail: str = "") -> None:
        """Ask for the end of the call."""
        if self._peers is not None:
            tell(self._peers.supervisor, CallEnding(cause, detail))

    def abandon(self) -> None:
        """Stop the actors of a call that has no time to end."""
        if self._peers is not None:
            _stop(getattr(self._peers, each.name) for each in fields(Peers))

    def flow(self) -> None:
        """For the socket's reader: wait until what was received so far has been handled."""
        if self._peers is not None:
            wait_until_handled(self._peers.ingress)

    def when_handled(self, reached: Callable[[], object]) -> None:
        """The same without waiting: `reached` is called then, on an actor's thread."""
        if self._peers is None:
            reached()
        else:
            call_when_handled(self._peers.ingress, reached)


def start_call(
    setting: Setting,
    settings: Settings,
    agent: Agent | AgentChoice,
    links: tuple[CarrierLink, ModelLink],
    conclude: Callable[[CallSummary], None],
) -> Call:
    """Start the actors of a call. `conclude` gets the summary, once, on an actor's thread.

    If one of them cannot start, nothing of the call is left: those that did are stopped, the links
    closed, and `conclude` has a summary without counts when this returns. An error that is meant
    for the calling thread and not for the call, such as KeyboardInterrupt, is raised then.
    """
    starts = _starts(setting, settings, agent, links, conclude)
    actors: dict[str, Ref] = {}
    name = ""
    try:
        for name, start in starts.items():
            actors[name] = start()
        peers = Peers(**actors)
        for ref in actors.values():
            tell(ref, peers)
    except BaseException as error:
        QuietLog(setting.log.logger).error("call could not begin", actor=name, **trace_of(error))
        _stop(actors.values())
        told = f"{name} could not start: {type(error).__name__}"
        _give_up(failed_call(setting, told), links, conclude)
        if not isinstance(error, Exception | SystemExit):
            raise
        return Call(None)
    return Call(peers)


def _starts(
    setting: Setting,
    settings: Settings,
    agent: Agent | AgentChoice,
    links: tuple[CarrierLink, ModelLink],
    conclude: Callable[[CallSummary], None],
) -> dict[str, Callable[[], Ref]]:
    """How each actor is started. The supervisor comes first: it hears of the others' deaths."""
    carrier, model = links
    media, log = setting.media, setting.log.logger

    def transmit(generation: int) -> Transmission:
        return Transmission(
            lead_s=settings.lead_ms / 1000,
            mark_every_frames=FRAMES_PER_MARK,
            false_trigger_s=settings.false_trigger_ms / 1000,
            fallback_after_s=settings.fallback_after_ms / 1000,
            generation=generation,
        )

    known = agent if isinstance(agent, Agent) else None
    terms = Terms(
        known or Agent(),
        settings.max_call_s,
        setting.note,
        can_redirect=setting.redirect is not None,
    )
    dialogue = Dialogue(
        brief_of(known) if known is not None else None,
        retries=settings.model_retries,
        budget=Budget(settings.max_call_tokens, settings.max_call_usd, settings.prices),
    )
    return {
        "supervisor": lambda: Supervisor.start(media, log, (carrier, model), conclude, terms),
        "ingress": lambda: TwilioIngress.start(media, setting.log, setting.tickets),
        "detector": lambda: VADDetector.start(
            media, log, LevelDetector(settings.onset_rms), onset_frames=settings.onset_frames
        ),
        "pacer": lambda: TxPacer.start(media, log, carrier, transmit),
        "bridge": lambda: RealtimeBridge.start(media, log, model, dialogue, setting.stand_in),
        "watchdog": lambda: Watchdog.start(media, log),
        "host_calls": lambda: HostCalls.start(setting.blocking, log, agent, setting.redirect),
    }


def _stop(actors: Iterable[Ref]) -> None:
    for ref in actors:
        ref.stop(block=False)


def failed_call(setting: Setting, told: str) -> CallSummary:
    """The summary of a call that could not begin; it is noted like any other."""
    now = setting.media.now()
    summary = summarise(CallFacts("", "", EndCause.CRASHED, told, now, now), {})
    with suppress(BaseException):
        setting.note(CallFinished(call_id=uuid4(), summary=summary))
    return summary


def _give_up(
    summary: CallSummary,
    links: tuple[CarrierLink, ModelLink],
    conclude: Callable[[CallSummary], None],
) -> None:
    """Do what a supervisor would do at the end; whatever fails, the rest is done."""
    carrier, model = links
    with suppress(BaseException):
        model.close()
    with suppress(BaseException):
        carrier.close(CLOSE_CODES[summary.end_cause], summary.end_cause)
    with suppress(BaseException):
        conclude(summary)
