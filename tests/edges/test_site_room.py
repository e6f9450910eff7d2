"""Room for a call is promised by the webhook and taken by the socket; the rest hear why not."""

from __future__ import annotations

import json
import queue
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from callengine import CallEngine, EndCause, SettingsError, WhenFull
from callengine.edges.asgi import VoiceApp
from callengine.edges.site import VoiceSite
from callengine.security.tickets import LIFETIME_S
from callengine.testing import Wait, WaitUntilHeard
from tests.edges.hosted import WAIT_S, hosted, uvicorn_thread
from tests.edges.test_site import (
    ScriptedEdge,
    admission,
    refused,
    serve,
    start,
    stream_of,
    ticket_of,
)
from tests.edges.twilio_signed import CALL, post, settings, signed_headers, upgrade

if TYPE_CHECKING:
    from collections.abc import Iterator

    from callengine import CallSummary
    from callengine.edges.http import HttpReply

WHEN_FULL = "say:All our lines are busy."


@pytest.fixture(name="site")
def site_with_two_slots() -> Iterator[VoiceSite]:
    with CallEngine(settings(max_calls=2, when_full=WhenFull.parse(WHEN_FULL))) as engine:
        yield VoiceSite(engine)


def webhook(site: VoiceSite, call_sid: str) -> HttpReply:
    return site.incoming(post(form={**CALL, "CallSid": call_sid}))


def connected(site: VoiceSite, call_sid: str) -> bool:
    return b"<Connect>" in webhook(site, call_sid).body


def verbs(reply: HttpReply) -> list[tuple[str, str | None]]:
    assert (reply.status, reply.content_type) == (200, "text/xml; charset=utf-8")
    return [(verb.tag, verb.text) for verb in ElementTree.fromstring(reply.body)]


def strain(engine: CallEngine) -> None:
    """Alarms of the last second rang a second late."""
    now = time.monotonic()
    for at in (*[now - 1.0] * 100, now):
        engine._strain.alarms.note(at, 1.0)
    assert engine.strained


# ---- the webhook


def test_a_slot_is_promised_to_whoever_is_sent_to_the_media_socket(site: VoiceSite) -> None:
    assert connected(site, "CA1")
    assert json.loads(site.health().body)["free_slots"] == 1
    assert connected(site, "CA2")
    assert site.ready().status == 503
    assert verbs(webhook(site, "CA3")) == [("Say", "All our lines are busy."), ("Hangup", None)]
    assert json.loads(site.health().body)["shed"]["calls"] == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("busy", [("Reject", None)]),
        ("say:Call later, <please>.", [("Say", "Call later, <please>."), ("Hangup", None)]),
        ("queue:support & sales", [("Enqueue", "support & sales")]),
        ("dial:+15550100", [("Dial", "+15550100")]),
    ],
)
@pytest.mark.parametrize("why", ["full", "strained"])
def test_the_host_chooses_what_the_next_caller_hears(
    text: str, told: list[tuple[str, str | None]], why: str
) -> None:
    with CallEngine(settings(max_calls=1, when_full=WhenFull.parse(text))) as engine:
        site = VoiceSite(engine)
        if why == "full":
            assert connected(site, "CA1")
        else:
            strain(engine)
        assert verbs(webhook(site, "CA2")) == told


def test_a_webhook_that_twilio_asks_again_promises_one_slot(site: VoiceSite) -> None:
    first, again = webhook(site, "CA1"), webhook(site, "CA1")
    assert ticket_of(first) != ticket_of(again)
    assert site.engine.slots_free == 1
    assert connected(site, "CA2")
    assert connected(site, "CA1"), "his own slot is no matter of room"


def test_a_promise_that_nobody_comes_for_expires(
    site: VoiceSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for call_sid in ("CA1", "CA2"):
        assert connected(site, call_sid)
    later = time.monotonic() + LIFETIME_S
    assert site.engine.full
    monkeypatch.setattr(site.engine._gate, "_now", lambda: later)
    assert site.engine.slots_free == 2
    assert connected(site, "CA3")


def test_a_host_with_a_webhook_of_its_own_promises_slots_too(site: VoiceSite) -> None:
    def answer(call_sid: str) -> str:
        return site.twiml(call_sid=call_sid, media_url="wss://media.example.com/calls")

    assert [stream_of(answer(call_sid)).tag for call_sid in ("CA1", "CA2")] == ["Stream"] * 2
    assert "<Say>All our lines are busy.</Say>" in answer("CA3")


def test_an_answer_that_cannot_be_made_promises_nothing(site: VoiceSite) -> None:
    with pytest.raises(SettingsError, match="wss"):
        site.twiml(call_sid="CA1", media_url="https://media.example.com/calls")
    assert site.engine.slots_free == 2


def test_without_tickets_nothing_is_promised_and_free_slots_alone_count() -> None:
    with CallEngine(settings(max_calls=1, validate_signatures=False)) as engine:
        site = VoiceSite(engine)
        for call_sid in ("CA1", "CA2"):
            assert connected(site, call_sid)
        edge = ScriptedEdge(start())
        call = serve(site, edge, admission(site))
        assert verbs(webhook(site, "CA3")) == [("Reject", None)]
        assert refused(site.admit(upgrade())).status == 503
        edge.close(1000, "")
        call.join(5)
        assert connected(site, "CA3")


# ---- the socket


def test_a_socket_whose_webhook_was_answered_is_taken_whatever_has_happened_since(
    site: VoiceSite,
) -> None:
    told: queue.SimpleQueue[CallSummary] = queue.SimpleQueue()
    tokens = {call_sid: ticket_of(webhook(site, call_sid)) for call_sid in ("CA1", "CA2")}
    strain(site.engine)
    door = VoiceSite(site.engine, on_call=told.put)
    first = [ScriptedEdge() for _ in range(3)]  # who they are nobody knows
    edges = [*first, *(ScriptedEdge(start(tokens[each], each)) for each in tokens)]
    calls = [serve(door, edge, admission(door)) for edge in edges]
    for edge, thread in zip(edges, calls, strict=True):
        edge.close(1000, "")
        thread.join(5)
    summaries = [told.get(timeout=5) for _ in edges]
    assert {each.call_sid for each in summaries if each.stream_sid} == set(tokens)
    assert EndCause.TICKET_REFUSED not in {each.end_cause for each in summaries}


def test_a_strained_engine_refuses_strangers(site: VoiceSite) -> None:
    strain(site.engine)
    assert refused(site.admit(upgrade())).status == 503
    assert site.ready().status == 503
    assert json.loads(site.health().body)["strained"] is True


def test_who_was_sent_by_another_process_gets_no_slot_that_is_promised(site: VoiceSite) -> None:
    with CallEngine(settings()) as elsewhere:
        token = ticket_of(webhook(VoiceSite(elsewhere), "CA9"))
    for call_sid in ("CA1", "CA2"):
        assert connected(site, call_sid)
    edge = ScriptedEdge(start(token, "CA9"))
    summary = site.serve(edge, admission(site))
    assert summary.end_cause is EndCause.TICKET_REFUSED
    assert summary.end_detail == "the ticket is good, but there is no room"
    assert edge.closed == (1008, "ticket_refused")
    assert site.engine.full, "both are kept"


# ---- the real thing


@pytest.mark.realtime
def test_of_six_at_once_three_are_served_and_three_are_told_why_not() -> None:
    together = threading.Barrier(6)

    def ask(call_sid: str) -> tuple[str, str, float]:
        together.wait()
        began = time.monotonic()
        return call_sid, host.webhook(port, "/voice", call_sid), time.monotonic() - began

    full = WhenFull.parse(WHEN_FULL)
    with hosted(VoiceApp, max_calls=3, when_full=full) as host, uvicorn_thread(host.app) as port:
        host.get(port, "/voice/health")  # until it listens
        with ThreadPoolExecutor(6) as pool:
            answers = list(pool.map(ask, [f"CA{n}" for n in range(6)]))
        sent = {sid: twiml for sid, twiml, _ in answers if "<Connect>" in twiml}
        told = [(twiml, took_s) for _, twiml, took_s in answers if "<Say>" in twiml]
        assert (len(sent), len(told)) == (3, 3)
        assert min(took_s for _, took_s in told) < 0.2, "nobody is waited for"
        begun = [
            host.connect(port, twiml, WaitUntilHeard(WAIT_S), Wait(1.0), call_sid=sid)
            for sid, twiml in sent.items()
        ]
        assert host.engine.active_calls == 3
        signed = signed_headers("wss://voice.example.com/voice/media")
        assert host.upgrade_status(port, "/voice/media", signed) == 503
        records = [call.join(WAIT_S) for call in begun]
    assert all(record.heard and not record.violations for record in records)


@pytest.mark.realtime
def test_a_socket_without_a_ticket_is_closed_and_costs_nobody_a_slot() -> None:
    with hosted(VoiceApp, max_calls=1) as host, uvicorn_thread(host.app) as port:
        twiml = host.webhook(port, "/voice")
        stranger = re.sub(r' value="[^"]+"', ' value="guessed"', twiml)
        record = host.dial(port, "/voice", Wait(5.0), twiml=stranger)
        assert record.closed is not None
        assert (record.closed.code, record.closed.by) == (1008, "engine")
        assert host.dial(port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.1), twiml=twiml).heard
