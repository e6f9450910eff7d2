"""What an engine says to Twilio and to a load balancer, before any host is there."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import queue
import threading
import time
import warnings
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest
from loguru import logger

from callengine import CallEngine, CallSummary, EndCause, Settings, SettingsError
from callengine.edges.admission import Admission
from callengine.edges.http import MAX_BODY_BYTES, HttpReply, HttpRequest
from callengine.edges.site import VoiceSite
from callengine.errors import EdgeClosed, EngineStopped, LocalError, SignaturesOff
from callengine.security.tickets import TICKET_PARAMETER, Ticket
from tests.edges.twilio_signed import CALL, PUBLIC_URL, post, settings, upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator


def start(token: str | None = None, call_sid: str = "CA1") -> str:
    """What a stream says first."""
    told = {
        "streamSid": "MZ1",
        "accountSid": "AC1",
        "callSid": call_sid,
        "tracks": ["inbound"],
        "customParameters": {} if token is None else {TICKET_PARAMETER: token},
        "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": "MZ1", "start": told})


START = start()


class ScriptedEdge:
    """An edge whose peer says `messages`, and then nothing until it is closed."""

    def __init__(self, *messages: str) -> None:
        self._messages = list(messages)
        self._over = threading.Event()
        self.waiting = threading.Event()
        self.closed: tuple[int, str] | None = None

    def receive(self) -> str | bytes:
        if self._messages:
            return self._messages.pop(0)
        self.waiting.set()
        self._over.wait()
        raise EdgeClosed(1000)

    def send(self, message: str) -> None:
        pass

    def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)
        self._over.set()


class ScriptedAsyncEdge:
    """The same on a loop."""

    def __init__(self, *messages: str) -> None:
        self._messages = list(messages)
        self.closed: tuple[int, str] | None = None

    async def receive(self) -> str | bytes:
        if self._messages:
            return self._messages.pop(0)
        raise EdgeClosed(1006)

    async def send(self, message: str) -> None:
        pass

    async def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)


@pytest.fixture(name="site")
def site_of_a_fresh_engine() -> Iterator[VoiceSite]:
    with CallEngine(settings()) as engine:
        yield VoiceSite(engine)


@pytest.fixture(name="log")
def log_of_the_test() -> Iterator[list[str]]:
    records: list[str] = []
    logger.enable("callengine")
    sink = logger.add(records.append, format="{level} {message} {extra}")
    yield records
    logger.remove(sink)
    logger.disable("callengine")


def stream_of(reply: HttpReply | str) -> ElementTree.Element:
    text = reply if isinstance(reply, str) else reply.body.decode()
    response = ElementTree.fromstring(text)
    assert [verb.tag for verb in response] == ["Connect", "Hangup"]
    [stream] = response[0]
    return stream


def ticket_of(reply: HttpReply | str) -> str:
    [parameter] = stream_of(reply)
    assert parameter.attrib["name"] == TICKET_PARAMETER
    assert len(TICKET_PARAMETER + parameter.attrib["value"]) < 500
    return parameter.attrib["value"]


def admission(site: VoiceSite, **given: Any) -> Admission:  # noqa: ANN401
    admitted = site.admit(upgrade(**given))
    assert isinstance(admitted, Admission)
    return admitted


def refused(answer: HttpReply | Admission) -> HttpReply:
    assert isinstance(answer, HttpReply)
    return answer


def serve(site: VoiceSite, edge: ScriptedEdge, admitted: Admission) -> threading.Thread:
    thread = threading.Thread(target=lambda: site.serve(edge, admitted))
    thread.start()
    assert edge.waiting.wait(5)
    return thread


# ---- the webhook


def test_a_signed_webhook_is_connected_to_the_media_beside_it(site: VoiceSite) -> None:
    reply = site.incoming(post())
    assert (reply.status, reply.content_type) == (200, "text/xml; charset=utf-8")
    assert stream_of(reply).attrib == {
        "url": "wss://voice.example.com/voice/media",
        "statusCallback": "https://voice.example.com/voice/status",
    }


def test_its_ticket_is_for_this_call_and_knows_the_numbers(site: VoiceSite) -> None:
    token = ticket_of(site.incoming(post()))
    tickets = site.engine.tickets
    assert tickets.redeem(token, "CA1", time.time()) == Ticket("CA1", "+15550100", "+15550199")


def test_the_media_may_be_elsewhere() -> None:
    site = VoiceSite(CallEngine(settings()), media_path="/a&b")
    assert stream_of(site.incoming(post())).attrib["url"] == "wss://voice.example.com/a&b"


@pytest.mark.parametrize(
    "public_url", ["https://voice.example.com/tel/", "wss://voice.example.com/tel"]
)
def test_what_lies_before_the_path_outside_is_part_of_the_public_url(public_url: str) -> None:
    site = VoiceSite(CallEngine(settings(public_url=public_url)))
    reply = site.incoming(post(origin="https://voice.example.com/tel"))
    assert stream_of(reply).attrib["url"] == "wss://voice.example.com/tel/voice/media"


def test_the_query_is_signed_too(site: VoiceSite) -> None:
    request = post(query="shop=7&x=a%20b")
    assert stream_of(site.incoming(request)).attrib["url"].endswith("/voice/media")
    assert site.incoming(dataclasses.replace(request, query="shop=8")).status == 403


@pytest.mark.parametrize("method", ["incoming", "status"])
@pytest.mark.parametrize(
    "change",
    [
        {"headers": {}},
        {"headers": {"x-twilio-signature": "bm8="}},
        {"path": "/voice/other"},
        {"body": b"CallSid=CA2"},
        {"query": "a=b"},
    ],
)
def test_what_twilio_has_not_signed_is_refused_without_a_hint(
    site: VoiceSite, method: str, change: dict[str, Any]
) -> None:
    reply = getattr(site, method)(dataclasses.replace(post(f"/voice/{method}"), **change))
    assert (reply.status, reply.body) == (403, b"no valid signature\n")


def test_what_a_request_says_of_its_own_origin_is_not_believed(site: VoiceSite) -> None:
    evil = post(origin="https://evil.example")
    told = {**evil.headers, "host": "evil.example", "x-forwarded-host": "evil.example"}
    assert site.incoming(dataclasses.replace(evil, headers=told)).status == 403
    good = post()
    reply = site.incoming(dataclasses.replace(good, headers={**told, **good.headers}))
    assert b"evil" not in reply.body
    assert reply.status == 200


@pytest.mark.parametrize("verb", ["GET", "PUT", "HEAD", "DELETE", "post", ""])
def test_only_a_post_is_a_webhook(site: VoiceSite, verb: str) -> None:
    for answer in (site.incoming, site.status):
        reply = answer(dataclasses.replace(post(), method=verb))
        assert (reply.status, reply.headers) == (405, (("Allow", "POST"),))


def test_a_body_over_the_cap_is_refused_before_anything_is_computed(site: VoiceSite) -> None:
    form = {**CALL, "x": "y" * MAX_BODY_BYTES}
    assert site.incoming(post(form=form)).status == 413


@pytest.mark.parametrize("call_sid", ["", "C" * 65, "CA\u00e9"])
def test_a_form_without_a_call_is_told_what_it_lacks(site: VoiceSite, call_sid: str) -> None:
    reply = site.incoming(post(form={"CallSid": call_sid, "From": "+1"}))
    assert reply.status == 400
    assert b"CallSid" in reply.body
    assert site.incoming(post(form={"From": "+1"})).status == 400


def test_of_a_doubled_field_the_first_counts(site: VoiceSite) -> None:
    unsigned = VoiceSite(CallEngine(settings(validate_signatures=False)))
    body = b"CallSid=CA1&CallSid="
    assert unsigned.incoming(dataclasses.replace(post(), body=body)).status == 200


def test_callers_beyond_max_calls_hear_the_busy_tone() -> None:
    with CallEngine(settings(max_calls=1)) as engine:
        site, edge = VoiceSite(engine), ScriptedEdge()
        call = serve(site, edge, admission(site))
        response = ElementTree.fromstring(site.incoming(post()).body)
        assert [(verb.tag, verb.attrib) for verb in response] == [("Reject", {"reason": "busy"})]
        assert refused(site.admit(upgrade())).status == 503
        assert site.ready().status == 503
        assert json.loads(site.health().body)["free_slots"] == 0
        edge.close(1000, "")
        call.join(5)
        assert site.ready().status == 200
        assert ticket_of(site.incoming(post()))
        assert site.ready().status == 503, "there is room for that one, and no other"


def test_a_stopped_engine_sends_webhooks_elsewhere(site: VoiceSite) -> None:
    site.engine.stop()
    reply = site.incoming(post())
    assert (reply.status, reply.headers) == (503, (("Retry-After", "5"),))
    assert refused(site.admit(upgrade())).status == 503


def test_whoever_draws_a_ticket_when_a_drain_begins_is_sent_elsewhere(
    site: VoiceSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = site.engine.tickets.issue

    def drain_meanwhile(ticket: Ticket, now: float) -> str:
        site.engine.drain(0)
        return issue(ticket, now)

    monkeypatch.setattr(site.engine.tickets, "issue", drain_meanwhile)
    assert site.incoming(post()).status == 503


def test_a_host_with_a_webhook_of_its_own_writes_the_same_twiml(site: VoiceSite) -> None:
    url = "wss://media.example.com/calls"
    text = site.twiml(call_sid="CA1", caller="+15550100", called="+15550199", media_url=url)
    assert stream_of(text).attrib == {"url": url}
    redeemed = site.engine.tickets.redeem(ticket_of(text), "CA1", time.time())
    assert redeemed == Ticket("CA1", "+15550100", "+15550199")
    with pytest.raises(SettingsError, match="pass media_url"):
        site.twiml(call_sid="CA1")
    with pytest.raises(LocalError, match="call sid"):
        site.twiml(call_sid="", media_url=url)
    at = VoiceSite(site.engine, media_path="/m")
    assert stream_of(at.twiml(call_sid="CA1")).attrib["url"] == "wss://voice.example.com/m"
    site.engine.stop()
    with pytest.raises(EngineStopped):
        at.twiml(call_sid="CA1")


# ---- status callbacks


@pytest.mark.edge_case(31)
def test_status_callbacks_in_any_order_and_of_any_kind_disturb_no_call(
    site: VoiceSite, log: list[str]
) -> None:
    edge = ScriptedEdge()
    call = serve(site, edge, admission(site))
    told = ["stream-stopped", "stream-started", "stream-started", "stream-error", "x" * 9_000, ""]
    error = "31924 - \x1b[2J\nprotocol" + "y" * 9_000
    for event in told:
        form = {"CallSid": "CA1", "StreamSid": "MZ1", "StreamEvent": event, "StreamError": error}
        assert site.status(post("/voice/status", form)) == HttpReply(204)
    assert site.status(post("/voice/status", {})) == HttpReply(204)
    wrong = dataclasses.replace(post("/voice/status"), headers={})
    assert site.status(wrong).status == 403
    assert site.status_events == {
        "stream-started": 2,
        "stream-stopped": 1,
        "stream-error": 1,
        "other": 3,
    }
    [record] = [each for each in log if "stream error" in each]
    assert record.startswith("WARNING")
    assert "31924" in record
    assert "CA1" in record
    assert len(record) < 500
    assert "\x1b" not in record
    assert site.engine.active_calls == 1
    edge.close(1000, "")
    call.join(5)


# ---- the load balancer


def test_health_and_readiness() -> None:
    with CallEngine(settings(max_calls=3)) as engine:
        site = VoiceSite(engine)
        well = {
            "active_calls": 0,
            "free_slots": 3,
            "draining": False,
            "strained": False,
            "ready": True,
            "shed": {"calls": 0, "diagnostics": 0, "recordings": 0},
        }
        for reply in (site.health(), site.ready()):
            assert (reply.status, reply.content_type) == (200, "application/json")
            assert json.loads(reply.body) == well
        engine.drain(0)
        assert site.health().status == 200
        assert json.loads(site.health().body)["draining"] is True
        assert site.ready().status == 503


# ---- the media socket


@pytest.mark.edge_case(19)
@pytest.mark.parametrize(
    "change",
    [{"headers": {}}, {"headers": {"x-twilio-signature": "bm8="}}, {"path": "/x"}, {"query": "a"}],
)
def test_an_upgrade_that_twilio_has_not_signed_is_refused(
    site: VoiceSite, change: dict[str, Any]
) -> None:
    answer = site.admit(dataclasses.replace(upgrade(), **change))
    assert refused(answer) == HttpReply(403, b"no valid signature\n")
    assert isinstance(site.admit(upgrade()), Admission)


def test_an_upgrade_signed_as_a_webhook_is_none(site: VoiceSite) -> None:
    """Twilio signs the URL of the TwiML, and that begins with wss."""
    webhook = post("/voice/media", {})
    assert refused(site.admit(dataclasses.replace(webhook, method="GET"))).status == 403


def test_with_a_media_path_sockets_elsewhere_are_not_found() -> None:
    site = VoiceSite(CallEngine(settings()), media_path="/media")
    assert refused(site.admit(upgrade("/voice/media"))).status == 404
    assert isinstance(site.admit(upgrade("/media")), Admission)


def test_sockets_that_have_not_begun_are_counted_by_address() -> None:
    site = VoiceSite(CallEngine(settings(max_sockets_per_address=2)))
    first, second = admission(site), admission(site)
    assert refused(site.admit(upgrade())).status == 429
    assert isinstance(site.admit(upgrade(client="203.0.113.8")), Admission)
    first.release()
    first.release()
    third = admission(site)
    assert refused(site.admit(upgrade())).status == 429
    second.release()
    third.release()


def test_a_socket_counts_until_its_stream_starts_and_no_longer() -> None:
    with CallEngine(settings(max_sockets_per_address=1, validate_signatures=False)) as engine:
        site = VoiceSite(engine)
        silent = ScriptedEdge('{"event":"connected"}', '{"event":"x","start":"start"}')
        call = serve(site, silent, admission(site))
        assert refused(site.admit(upgrade())).status == 429
        silent.close(1000, "")
        call.join(5)
        started = ScriptedEdge('{"event":"connected"}', START)
        call = serve(site, started, admission(site))
        assert isinstance(site.admit(upgrade()), Admission)
        started.close(1000, "")
        call.join(5)


def test_a_stream_without_a_ticket_is_closed() -> None:
    told: queue.SimpleQueue[CallSummary] = queue.SimpleQueue()
    with CallEngine(settings()) as engine:
        site, edge = VoiceSite(engine, on_call=told.put), ScriptedEdge(START)
        assert site.serve(edge, admission(site)).end_cause is EndCause.TICKET_REFUSED
        assert edge.closed is not None
        assert edge.closed[0] == 1008
        assert told.get(timeout=5).end_cause is EndCause.TICKET_REFUSED


def test_a_socket_on_an_event_loop() -> None:
    told: queue.SimpleQueue[tuple[CallSummary, threading.Thread]] = queue.SimpleQueue()
    with CallEngine(settings(max_sockets_per_address=1)) as engine:
        site = VoiceSite(
            engine, on_call=lambda summary: told.put((summary, threading.current_thread()))
        )
        for _ in range(2):  # the first one counts no longer
            summary = asyncio.run(site.aserve(ScriptedAsyncEdge(), admission(site)))
            heard, thread = told.get(timeout=5)
            assert heard is summary
            assert thread is not threading.main_thread(), "the host may block, the loop may not"
    assert summary.end_cause is EndCause.CARRIER_LOST


def test_an_engine_that_was_stopped_meanwhile(site: VoiceSite) -> None:
    sync, on_loop = admission(site), admission(site)
    site.engine.stop()
    edge, async_edge = ScriptedEdge(), ScriptedAsyncEdge()
    with pytest.raises(EngineStopped):
        site.serve(edge, sync)
    with pytest.raises(EngineStopped):
        asyncio.run(site.aserve(async_edge, on_loop))
    assert edge.closed
    assert async_edge.closed
    assert len(site._sockets) == 0


def test_a_host_whose_on_call_raises_still_gets_its_summary(log: list[str]) -> None:
    def on_call(_: CallSummary) -> None:
        raise ZeroDivisionError(" ".join(["what", "was", "said"]))

    with CallEngine(settings()) as engine:
        site = VoiceSite(engine, on_call=on_call)
        assert asyncio.run(site.aserve(ScriptedAsyncEdge(), admission(site))).duration_s >= 0
    [record] = [each for each in log if "on_call failed" in each]
    assert "ZeroDivisionError" in record
    assert "what was said" not in record


# ---- draining


def test_while_draining_only_those_are_let_in_who_were_sent_here_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drains = threading.Event()
    with CallEngine(settings()) as engine:
        site = VoiceSite(engine)
        token = ticket_of(site.incoming(post()))
        gate, closed = engine._gate, engine._gate.drain
        monkeypatch.setattr(gate, "drain", lambda: (closed(), drains.set()))
        drain = threading.Thread(target=engine.drain, args=(30.0,))
        drain.start()
        assert drains.wait(5)
        reply = site.incoming(post())
        assert (reply.status, reply.headers) == (503, (("Retry-After", "5"),))
        assert isinstance(site.admit(upgrade()), Admission)
        assert isinstance(gate.enter(engine.tickets).redeem(token, "CA1", time.time()), Ticket)
        assert refused(site.admit(upgrade())).status == 503
        drain.join(5)
        assert not drain.is_alive()


# ---- settings


@pytest.mark.parametrize("lacking", ["twilio_auth_token", "public_url"])
def test_signatures_that_cannot_be_validated(lacking: str) -> None:
    with pytest.raises(SettingsError) as raised:
        VoiceSite(CallEngine(settings(**{lacking: None})))
    for way_out in (
        "TWILIO_AUTH_TOKEN",
        "CALLENGINE_PUBLIC_URL",
        "CALLENGINE_VALIDATE_SIGNATURES=false",
    ):
        assert way_out in str(raised.value)


def test_a_media_path_without_a_slash() -> None:
    with pytest.raises(SettingsError, match="must begin with a slash"):
        VoiceSite(CallEngine(settings()), media_path="media")


def test_without_validation_anybody_may_call_and_the_log_says_so(log: list[str]) -> None:
    with CallEngine(settings(validate_signatures=False)) as engine:
        site = VoiceSite(engine)
        assert len([each for each in log if each.startswith("WARNING")]) == 1
        request = HttpRequest("POST", "/incoming", body=b"CallSid=CA1")
        stream = stream_of(site.incoming(request))
        assert stream.attrib == {"url": "wss://voice.example.com/media"}
        assert len(stream) == 0
        admitted = site.admit(HttpRequest("GET", "/media"))
        assert isinstance(admitted, Admission)
        edge = ScriptedEdge(START)
        call = serve(site, edge, admitted)
        edge.close(1000, "")
        call.join(5)
        assert edge.closed == (1000, "")


def test_without_validation_and_public_url_the_webhook_says_what_to_do() -> None:
    site = VoiceSite(CallEngine(Settings(validate_signatures=False)))
    reply = site.incoming(HttpRequest("POST", "/incoming", body=b"CallSid=CA1"))
    assert reply.status == 503
    assert b"CALLENGINE_PUBLIC_URL" in reply.body
    assert site.health().status == 200


def test_whoever_knocks_without_a_signature_does_not_fill_the_log(
    site: VoiceSite, log: list[str]
) -> None:
    request = HttpRequest("POST", "/voice/incoming\x1b[2J" + "x" * 9_000, body=b"CallSid=CA1")
    for _ in range(100):
        site.incoming(request)
        site.admit(request)
    records = [each for each in log if "signature" in each]
    assert len(records) == 8  # 1, 2, 4 ... 128
    assert PUBLIC_URL in records[0]
    assert "\x1b" not in records[0]
    assert max(len(each) for each in records) < 500


def test_who_turns_signatures_off_is_warned_whether_or_not_the_log_is_on() -> None:
    engine = CallEngine(Settings(validate_signatures=False))
    with pytest.warns(SignaturesOff, match="whoever reaches this server may call"):
        VoiceSite(engine)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VoiceSite(engine, local_only=True)
