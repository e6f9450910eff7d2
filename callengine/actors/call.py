"""Puts one call together: seven actors, wired to each other and to the two sockets."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import pykka

from callengine.actors.dispatch import Dispatcher, tell
from callengine.actors.host_calls import HostCalls
from callengine.actors.realtime_bridge import ModelLink, RealtimeBridge
from callengine.actors.shell import Peers, Ref, wait_until_handled
from callengine.actors.supervisor import Supervisor
from callengine.actors.twilio_ingress import TwilioIngress
from callengine.actors.tx_pacer import CarrierLink, TxPacer
from callengine.actors.vad_detector import VADDetector
from callengine.actors.watchdog import Watchdog
from callengine.audio.level import LevelDetector
from callengine.machines.conversation import Conversation
from callengine.machines.playout import FRAMES_PER_MARK
from callengine.machines.transmission import Transmission
from callengine.messages import CallEnding, CarrierClosed, CarrierMessage, EndCause

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.agent import Agent
    from callengine.logs import CallLog
    from callengine.settings import Settings
    from callengine.summary import CallSummary


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a call runs: `media` for actors that never wait, `blocking` for the host's code."""

    media: Dispatcher
    blocking: Dispatcher
    log: CallLog


class Call:
    """One call from the outside: what came off the carrier's socket goes in here."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def received(self, message: str | bytes) -> None:
        """Tell what the carrier sent."""
        tell(self._peers.ingress, CarrierMessage(message))

    def carrier_closed(self, code: int, reason: str) -> None:
        """Tell that the carrier's socket is gone."""
        tell(self._peers.ingress, CarrierClosed(code, reason))

    def end(self, cause: EndCause, detail: str = "") -> None:
        """Ask for the end of the call."""
        tell(self._peers.supervisor, CallEnding(cause, detail))

    def abandon(self) -> None:
        """Stop the actors of a call that has no time to end."""
        for each in fields(Peers):
            with suppress(pykka.ActorDeadError):
                getattr(self._peers, each.name).stop(block=False)

    def flow(self) -> None:
        """For the socket's reader: wait until what was received so far has been handled."""
        wait_until_handled(self._peers.ingress)


def start_call(
    setting: Setting,
    settings: Settings,
    agent: Agent,
    links: tuple[CarrierLink, ModelLink],
    conclude: Callable[[CallSummary], None],
) -> Call:
    """Start the actors of a call. `conclude` gets the summary, once, on an actor's thread."""
    carrier, model = links
    media, log = setting.media, setting.log.logger
    transmission = Transmission(
        lead_s=settings.lead_ms / 1000,
        mark_every_frames=FRAMES_PER_MARK,
        false_trigger_s=settings.false_trigger_ms / 1000,
    )

    def converse(now: float) -> Conversation:
        return Conversation(
            agent.session_config(),
            greeting=agent.greeting,
            greeting_protected=agent.greeting_protected,
            now=now,
        )

    actors: dict[str, Ref] = {
        "ingress": TwilioIngress.start(media, log),
        "detector": VADDetector.start(
            media, log, LevelDetector(settings.onset_rms), onset_frames=settings.onset_frames
        ),
        "pacer": TxPacer.start(media, log, carrier, transmission),
        "bridge": RealtimeBridge.start(media, log, model, converse),
        "watchdog": Watchdog.start(media, log),
        "host_calls": HostCalls.start(setting.blocking, log, agent),
        "supervisor": Supervisor.start(
            media, setting.log, (carrier, model), agent.farewell, conclude
        ),
    }
    peers = Peers(**actors)
    for each in fields(Peers):
        tell(actors[each.name], peers)
    return Call(peers)
