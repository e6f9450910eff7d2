"""The web site of an engine: what every host answers Twilio and its load balancer, in one place.

Decides who is let in and what is said to whom is not. Knows no framework and no socket: hosts
translate their requests to `HttpRequest`, and their sockets to `Edge` or `AsyncEdge`.
"""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from loguru import logger

from callengine.edges.admission import Admission, WatchedAsyncEdge, WatchedEdge, WatchedLoopEdge
from callengine.edges.http import (
    MAX_BODY_BYTES,
    HttpReply,
    json_reply,
    text_reply,
    xml_reply,
)
from callengine.edges.twiml import connect_stream, turn_away
from callengine.errors import EngineStopped, SettingsError, SignaturesOff
from callengine.logs import QuietLog, trace_of
from callengine.security.floods import SocketCount
from callengine.security.signature import Signer
from callengine.security.tickets import TICKET_PARAMETER, Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.actors.loop import Loop
    from callengine.agent import Agent, AgentChoice
    from callengine.edges.edge import AsyncEdge, Edge, LoopEdge
    from callengine.edges.http import HttpRequest
    from callengine.engine import CallEngine
    from callengine.settings import Settings
    from callengine.summary import CallSummary

RETRY_AFTER_S: Final = 5
STATUS_EVENTS: Final = frozenset({"stream-started", "stream-stopped", "stream-error"})
MAX_CALL_SID_CHARS: Final = 64
"""Twilio's have 34."""
MAX_LOGGED_CHARS: Final = 200
"""Of what somebody else wrote."""


class VoiceSite:
    """Five answers and a door for media sockets, over one engine; any thread may use it.

    `media_path` is where the host takes media sockets; by default `media` beside the webhook's own
    path. `agent` is the engine's own by default. `on_call` is told the summary of each call, on a
    thread that may block. `settings`, by default the engine's, say who is let in and from where.

    Raises SettingsError if signatures are to be validated and cannot be.
    """

    def __init__(
        self,
        engine: CallEngine,
        *,
        agent: Agent | AgentChoice | None = None,
        media_path: str | None = None,
        on_call: Callable[[CallSummary], None] | None = None,
        settings: Settings | None = None,
        local_only: bool = False,
    ) -> None:
        settings = settings or engine.settings
        self.engine = engine
        self.settings = settings
        self.status_events: Counter[str] = Counter()
        self._agent = agent
        self._media_path = media_path
        self._on_call = on_call
        self._log = QuietLog(logger.bind(call_sid="-"))
        self._lock = threading.Lock()
        self._refusals = 0
        self._signer = _signer(settings)
        self._tickets = None if self._signer is None else engine.tickets
        self._turn_away = turn_away(settings.when_full)
        self._sockets = SocketCount(settings.max_sockets_per_address)
        if media_path is not None and not media_path.startswith("/"):
            raise SettingsError(f"the media path is {media_path!r}; it must begin with a slash")
        if self._signer is None:
            told = "signatures are not validated: whoever reaches this server may call"
            self._log.warning(told)
            if not local_only:
                warnings.warn(told, SignaturesOff, stacklevel=2)

    # ---- Twilio's requests

    def incoming(self, request: HttpRequest) -> HttpReply:
        """The voice webhook: TwiML that connects the call to the media socket.

        A slot is held for it from now on. If there is none, the TwiML is that of
        `Settings.when_full`; a draining or stopped engine answers 503, so that another is asked.
        """
        if (refusal := self._refuse_post(request)) is not None:
            return refusal
        form = _form(request.body)
        call_sid = form.get("CallSid", "")
        if not 0 < len(call_sid) <= MAX_CALL_SID_CHARS or not call_sid.isascii():
            return text_reply(400, "the form has no CallSid")
        if self.settings.public_url is None:
            return text_reply(503, "set CALLENGINE_PUBLIC_URL")
        status_url = None if self._signer is None else self._public(_beside(request.path, "status"))
        ticket = Ticket(call_sid, form.get("From", ""), form.get("To", ""))
        media_url = self._public(self._media_path or _beside(request.path, "media"), "wss")
        try:
            return xml_reply(self._answer(ticket, media_url, status_url))
        except EngineStopped:
            return _unavailable()

    def twiml(
        self, *, call_sid: str, caller: str = "", called: str = "", media_url: str | None = None
    ) -> str:
        """The same TwiML for a host with a webhook of its own, which validated the signature.

        Raises SettingsError if it is not known where the media goes, LocalError if `call_sid` is
        none, EngineStopped if the engine is stopped or draining: answer 503 then.
        """
        if media_url is None:
            if self._media_path is None or self.settings.public_url is None:
                raise SettingsError(
                    "where the media goes is not known: pass media_url, or set the site's"
                    " media_path and CALLENGINE_PUBLIC_URL"
                )
            media_url = self._public(self._media_path, "wss")
        return self._answer(Ticket(call_sid, caller, called), media_url)

    def status(self, request: HttpRequest) -> HttpReply:
        """A stream's status callback: counted in `status_events`, errors logged.

        In any order, twice, or of a kind that nobody knows: calls do not depend on it.
        """
        if (refusal := self._refuse_post(request)) is not None:
            return refusal
        form = _form(request.body)
        told = form.get("StreamEvent", "")
        event = told if told in STATUS_EVENTS else "other"
        with self._lock:
            self.status_events[event] += 1
        if event == "stream-error":
            self._log.warning(
                "twilio reports a stream error",
                error=form.get("StreamError", "")[:MAX_LOGGED_CHARS],
                sid=form.get("CallSid", "")[:MAX_LOGGED_CHARS],
            )
        return HttpReply(204)

    # ---- a load balancer's

    def health(self) -> HttpReply:
        """200 as long as the process lives."""
        return json_reply(200, self._state())

    def ready(self) -> HttpReply:
        """200 if the next call would be taken, else 503: draining, stopped, full or strained."""
        return json_reply(200 if self.engine.ready else 503, self._state())

    # ---- the media socket

    def admit(self, request: HttpRequest) -> HttpReply | Admission:
        """Before the upgrade is answered: an answer that refuses it, or an admission to serve.

        An admission that is not served is to be released. As long as callers were sent to us whose
        sockets have not come yet, none is refused for want of room, or because of a drain.
        """
        if self._media_path is not None and request.path != self._media_path:
            return text_reply(404, "media is elsewhere")
        if self._signer is not None and not self._signer.is_valid_upgrade(
            request.target, request.headers
        ):
            return self._refuse_signature(request)
        if not self.engine.admits(ticketed=self._tickets is not None):
            return _unavailable()
        if not self._sockets.enter(request.client):
            return text_reply(429, "too many sockets that carry no call")
        return Admission(lambda: self._sockets.leave(request.client))

    def serve(self, edge: Edge, admission: Admission) -> CallSummary:
        """Hold the call; returns when it is over. Raises EngineStopped like the engine."""
        try:
            summary = self.engine.serve(
                WatchedEdge(edge, admission), agent=self._agent, tickets=self._tickets
            )
        finally:
            admission.release()
        self._tell(summary)
        return summary

    async def aserve(self, edge: AsyncEdge, admission: Admission) -> CallSummary:
        """`serve` for an event loop."""
        try:
            summary = await self.engine.aserve(
                WatchedAsyncEdge(edge, admission), agent=self._agent, tickets=self._tickets
            )
        finally:
            admission.release()
        if self._on_call is not None:
            await asyncio.to_thread(self._tell, summary)
        return summary

    def begin(
        self, connect: Callable[[Loop, Callable[[], None]], LoopEdge], admission: Admission
    ) -> None:
        """`serve` for a socket that the engine's own loop serves; see `CallEngine.begin`."""
        self.engine.begin(
            lambda loop, on_stall: WatchedLoopEdge(connect(loop, on_stall), admission),
            agent=self._agent,
            tickets=self._tickets,
            on_over=self._tell,
        )

    # ---- within

    def _refuse_post(self, request: HttpRequest) -> HttpReply | None:
        if request.method != "POST":
            return text_reply(405, "only POST", Allow="POST")
        if len(request.body) > MAX_BODY_BYTES:
            return text_reply(413, f"more than {MAX_BODY_BYTES} bytes")
        if self._signer is not None and not self._signer.is_valid_post(
            request.target, request.body, request.headers
        ):
            return self._refuse_signature(request)
        return None

    def _refuse_signature(self, request: HttpRequest) -> HttpReply:
        with self._lock:
            self._refusals += 1
            refusals = self._refusals
        if refusals & (refusals - 1) == 0:  # 1, 2, 4, 8...: whoever knocks does not fill the log
            self._log.warning(
                "no valid signature from Twilio; signed is the public URL with the path",
                path=request.path[:MAX_LOGGED_CHARS],
                public_url=self.settings.public_url,
                refusals=refusals,
            )
        return text_reply(403, "no valid signature")

    def _state(self) -> dict[str, object]:
        engine = self.engine
        return {
            "active_calls": engine.active_calls,
            "free_slots": engine.slots_free,
            "draining": engine.draining,
            "strained": engine.strained,
            "ready": engine.ready,
            "shed": engine.shed,
        }

    def _answer(self, ticket: Ticket, media_url: str, status_url: str | None = None) -> str:
        parameters = {}
        if self._tickets is not None:
            parameters[TICKET_PARAMETER] = self._tickets.issue(ticket, time.time())
        connect = connect_stream(media_url, parameters, status_url=status_url)
        # Last, so that no slot is held for an answer that could not be made.
        room = self.engine.reserve(ticket.call_sid if self._tickets is not None else None)
        return connect if room else self._turn_away

    def _public(self, path: str, scheme: str = "https") -> str:
        origin = self.settings.public_url or ""
        return f"{scheme}://{origin.partition('://')[2].rstrip('/')}{path}"

    def _tell(self, summary: CallSummary) -> None:
        if self._on_call is None:
            return
        try:
            self._on_call(summary)
        except Exception as error:  # noqa: BLE001 - the host's code
            self._log.error("on_call failed", **trace_of(error))


def _signer(settings: Settings) -> Signer | None:
    if not settings.validate_signatures:
        return None
    if not settings.twilio_auth_token or not settings.public_url:
        raise SettingsError(
            "Twilio's signatures cannot be validated: set TWILIO_AUTH_TOKEN (twilio_auth_token) and"
            " CALLENGINE_PUBLIC_URL (public_url, https://...); or, for a server that nobody outside"
            " can reach, CALLENGINE_VALIDATE_SIGNATURES=false (validate_signatures)"
        )
    return Signer(settings.twilio_auth_token, settings.public_url)


def _form(body: bytes) -> dict[str, str]:
    """The first value of each field."""
    pairs = parse_qsl(body.decode(errors="replace"), keep_blank_values=True, errors="replace")
    return dict(reversed(pairs))


def _beside(path: str, name: str) -> str:
    return f"{path.rpartition('/')[0]}/{name}"


def _unavailable() -> HttpReply:
    return text_reply(503, "no call is taken here now", Retry_After=str(RETRY_AFTER_S))
