"""The standalone server on loopback: calls, the webhook, and guests who want neither."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
import time
from xml.etree import ElementTree

import pytest
from loguru import logger
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from callengine import CallEngine, CallSummary, EndCause, Settings, SettingsError
from callengine.backstage import SOCKETS_TIMEOUT_S
from callengine.edges.http import MAX_BODY_BYTES
from callengine.edges.standalone import (
    HEALTH_PATH,
    MEDIA_PATH,
    READY_PATH,
    STATUS_PATH,
    WEBHOOK_PATH,
    StandaloneServer,
)
from callengine.testing import SendRaw, SimulatedCaller, Wait, WaitUntilHeard
from callengine.testing.sockets import PeerServer, run_client
from callengine.wire.twilio import MAX_MESSAGE_BYTES
from tests.edges.hosted import Callers
from tests.edges.twilio_signed import CALL, TOKEN, signed_headers
from tests.house import PUBLIC_URL, WAIT_S, House, house, model

pytestmark = pytest.mark.realtime

OPEN = Settings(validate_signatures=False)


def works(open_house: House) -> None:
    """A call is answered, and so is the webhook."""
    record = open_house.call()
    assert record.heard
    assert not record.missed
    assert not record.violations
    assert open_house.webhook()[0] == 200


# ---- calls


def test_a_call_on_the_media_path() -> None:
    with house() as open_house:
        assert open_house.server.media_url == f"ws://127.0.0.1:{open_house.server.port}{MEDIA_PATH}"
        record = open_house.call()
        summary = open_house.summary()
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.stream_sid == record.stream_sid
    assert record.heard


@pytest.mark.parametrize("path", ["/", "/media-stream/", "/media", "/MEDIA-STREAM", "//["])
def test_calls_on_any_other_path_are_refused(path: str) -> None:
    with house() as open_house:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://127.0.0.1:{open_house.server.port}{path}", proxy=None)
        assert refused.value.response.status_code == 404
        assert MEDIA_PATH.encode() in (refused.value.response.body or b"")
        works(open_house)


def test_a_media_path_of_ones_own_is_also_what_twilio_is_told() -> None:
    with StandaloneServer(CallEngine(OPEN), media_path="/a&b", public_url=PUBLIC_URL) as server:
        status, _, body = House(server).webhook()
    assert status == 200
    assert ElementTree.fromstring(body)[0][0].attrib["url"] == "wss://voice.example.com/a&b"


def test_a_second_server_on_the_same_port() -> None:
    with (
        StandaloneServer(CallEngine(OPEN)) as server,
        pytest.raises(SettingsError, match=f"port {server.port} on 127.0.0.1 cannot be had: Addr"),
    ):
        StandaloneServer(CallEngine(OPEN), port=server.port)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 65_536), ("203.0.113.1", 0)])
def test_an_address_that_cannot_be_listened_on(host: str, port: int) -> None:
    with pytest.raises(SettingsError, match=f"port {port} on {host} cannot be had: "):
        StandaloneServer(CallEngine(OPEN), host=host, port=port)


def test_a_full_house_answers_503_and_has_room_again_afterwards() -> None:
    with house(max_calls=1) as open_house:
        caller = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(0.5)])
        first = open_house.begin(caller)
        with pytest.raises(InvalidStatus) as refused:
            connect(open_house.server.media_url, proxy=None)
        first.join(WAIT_S)
        assert refused.value.response.status_code == 503
        assert b"no call is taken here now" in (refused.value.response.body or b"")
        assert caller.record.heard, "the call in progress goes on"
        open_house.summary()
        works(open_house)


@pytest.mark.edge_case(14)
def test_a_message_over_the_cap_ends_that_call_only() -> None:
    with house() as open_house:
        neighbour = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(1.0)], seed=1)
        beside = open_house.begin(neighbour)
        huge = '{"event":"media","media":{"payload":"' + "A" * 2 * 1024 * 1024 + '"}}'
        record = open_house.call(WaitUntilHeard(WAIT_S), SendRaw(huge), Wait(5.0))
        beside.join(WAIT_S)
        summaries = [open_house.summary() for _ in range(2)]
    assert record.closed is not None
    assert (record.closed.code, record.closed.by) == (1009, "engine")
    causes = {each.stream_sid: each for each in summaries}
    mine = causes[record.stream_sid]
    assert mine.end_cause is EndCause.CARRIER_LOST
    assert "1009" in mine.end_detail
    assert causes[neighbour.record.stream_sid].end_cause is EndCause.CALLER_HUNG_UP
    assert not neighbour.record.missed


@pytest.mark.edge_case(14)
def test_a_message_of_exactly_the_cap_is_read() -> None:
    with house() as open_house:
        full = '{"event":"' + "x" * (MAX_MESSAGE_BYTES - 12) + '"}'
        assert len(full) == MAX_MESSAGE_BYTES
        open_house.call(SendRaw(full), WaitUntilHeard(WAIT_S))
        summary = open_house.summary()
    assert summary.end_cause is EndCause.CALLER_HUNG_UP
    assert summary.inbound.unknown_messages == 1


# ---- webhook


def test_the_webhook_answers_with_the_configured_address_only() -> None:
    with house() as open_house:
        status, kind, body = open_house.ask(
            WEBHOOK_PATH,
            "POST",
            b"CallSid=CA1&From=%2B15550100",
            Host="evil.example",
            **{"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"},
        )
    assert (status, kind) == (200, "text/xml; charset=utf-8")
    response = ElementTree.fromstring(body)
    assert [verb.tag for verb in response] == ["Connect", "Hangup"]
    assert response[0][0].attrib == {"url": f"wss://voice.example.com{MEDIA_PATH}"}
    assert "evil" not in body


@pytest.mark.parametrize("url", ["https://voice.example.com/", "wss://voice.example.com"])
def test_a_public_url_may_end_with_a_slash_or_be_a_websocket_already(url: str) -> None:
    with house(public_url=url) as open_house:
        body = open_house.webhook()[2]
    assert f'url="wss://voice.example.com{MEDIA_PATH}"' in body


def test_a_public_url_with_quotes_stays_inside_its_attribute() -> None:
    nasty = "https://x.example/\"><Hangup/>'&"
    with house(public_url=nasty) as open_house:
        response = ElementTree.fromstring(open_house.webhook()[2])
    assert [verb.tag for verb in response] == ["Connect", "Hangup"]
    assert response[0][0].attrib["url"] == f"wss://x.example/\"><Hangup/>'&{MEDIA_PATH}"


@pytest.mark.parametrize("bench", [False, True])
def test_without_a_public_url_the_webhook_says_what_to_do(bench: bool) -> None:
    with house(public_url=None, validate_signatures=bench) as open_house:
        status, kind, body = open_house.webhook()
    assert (status, kind) == (503, "text/plain; charset=utf-8")
    assert "CALLENGINE_PUBLIC_URL" in body


def test_a_public_url_that_twilio_would_not_take() -> None:
    with pytest.raises(SettingsError, match="public_url is 'http://voice"):
        StandaloneServer(CallEngine(OPEN), public_url="http://voice.example.com")


@pytest.mark.parametrize("path", [WEBHOOK_PATH, STATUS_PATH])
def test_a_webhook_is_asked_with_post(path: str) -> None:
    with house() as open_house:
        assert open_house.ask(path + "?CallSid=CA1")[0] == 405
        works(open_house)


def test_a_load_balancer_is_told_how_many_calls_there_are_and_whether_there_is_room() -> None:
    with house(max_calls=1) as open_house:
        assert open_house.ask(READY_PATH)[0] == 200
        caller = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(0.3)])
        call = open_house.begin(caller)
        status, kind, body = open_house.ask(HEALTH_PATH)
        assert (status, kind) == (200, "application/json")
        assert json.loads(body)["active_calls"] == 1
        assert open_house.ask(READY_PATH)[0] == 503
        assert open_house.ask(READY_PATH, "POST", b"")[0] == 405
        call.join(WAIT_S)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/voice/incoming/", "//[", "/%00"])
def test_anything_else_is_not_found(method: str, path: str) -> None:
    with house() as open_house:
        status, _, body = open_house.ask(path, method, b"" if method == "POST" else None)
    assert status == 404
    assert MEDIA_PATH in body


@pytest.mark.parametrize(
    "length", [str(MAX_BODY_BYTES + 1), "-1", "many", "\xb2", "99999999999999999999999"]
)
def test_a_body_that_is_too_long_is_not_read(length: str) -> None:
    request = f"POST {WEBHOOK_PATH} HTTP/1.1\r\nContent-Length: {length}\r\n\r\n".encode("latin-1")
    with house() as open_house:
        with open_house.tcp(request) as plug:
            assert plug.recv(65_536).startswith(b"HTTP/1.1 413 ")
        works(open_house)


# ---- other guests


@pytest.mark.parametrize("method", ["PUT", "HEAD", "DELETE", "OPTIONS", "POSTER", "BREW"])
def test_another_method_gets_an_answer_and_harms_nobody(method: str) -> None:
    with house() as open_house:
        with open_house.tcp(
            f"{method} {WEBHOOK_PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        ) as plug:
            answer = plug.recv(65_536)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
        works(open_house)


def test_guests_who_say_nothing_or_nonsense_hold_nobody_up() -> None:
    openings = [
        b"",
        b"P",
        b"POST",
        b"POST /voice/incoming HTTP/1.1\r\nContent-Length: 100\r\n\r\nhalf",
        b"GET /media-stream HTTP/1.1\r\n",
        b"GET /media-stream HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\r\n\r\n",
        random.Random(1).randbytes(2_000),
        b"POST " + random.Random(2).randbytes(2_000) + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\n" + b"x" * 70_000,
    ]
    with house() as open_house:
        guests = [open_house.tcp(opening) for opening in openings]
        gone = open_house.tcp(b"POST /voice/incoming HTTP/1.1\r\nContent-Length: 5\r\n\r\n")
        gone.close()
        works(open_house)
    for guest in guests:  # those that were still connected were shown out by the stop
        with contextlib.suppress(ConnectionError):
            while guest.recv(65_536):
                pass
        guest.close()


def test_a_stopped_server_leaves_its_port_and_its_calls() -> None:
    with house() as open_house:
        caller = SimulatedCaller([Wait(WAIT_S)])
        call = open_house.begin(caller)
        assert open_house.ask(WEBHOOK_PATH, "POST", b"CallSid=CA1")[0] == 200
        open_house.server.stop()
        open_house.server.stop()
        call.join(WAIT_S)
        with pytest.raises(ConnectionRefusedError):
            open_house.tcp()
    assert caller.record.closed is not None
    assert caller.record.closed.code == 1001
    assert open_house.summary().end_cause is EndCause.SHUTDOWN


def test_an_engine_that_has_no_time_to_stop_still_closes_both_sockets() -> None:
    with house() as open_house:
        caller = SimulatedCaller([Wait(WAIT_S)])
        call = open_house.begin(caller)
        began = time.monotonic()
        open_house.server._engine.stop(timeout_s=0)
        assert time.monotonic() - began < SOCKETS_TIMEOUT_S, "no socket had to be cut"
        call.join(WAIT_S)
    assert caller.record.closed is not None
    assert caller.record.closed.code == 1001
    seen = open_house.model()
    assert seen.closed is not None
    assert seen.closed[0] == 1000


def test_a_host_whose_on_call_raises_goes_on_taking_calls() -> None:
    told: list[str] = []

    def on_call(summary: CallSummary) -> None:
        told.append(summary.stream_sid)
        raise ZeroDivisionError

    with PeerServer(model) as models:
        engine = CallEngine(Settings(realtime_url=models.url))
        with StandaloneServer(engine, on_call=on_call) as server:
            records = [House(server).call() for _ in range(2)]
    assert told == [each.stream_sid for each in records]


def test_a_caller_who_is_gone_before_the_start() -> None:
    with house() as open_house:
        with connect(open_house.server.media_url, proxy=None) as plug:
            plug.send('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        with connect(open_house.server.media_url, proxy=None) as plug:
            plug.socket.shutdown(socket.SHUT_RDWR)
            with pytest.raises(ConnectionClosed):
                plug.recv()
        summaries = [open_house.summary() for _ in range(2)]
    assert [each.end_cause for each in summaries] == [EndCause.CARRIER_LOST] * 2
    assert {each.stream_sid for each in summaries} == {""}


# ---- who is let in


def test_a_call_that_twilio_has_signed() -> None:
    with house(twilio_auth_token=TOKEN) as open_house:
        record = Callers().dial(open_house.server.port, "/voice", WaitUntilHeard(WAIT_S), Wait(0.1))
        summary = open_house.summary()
    assert record.heard
    assert not record.missed
    assert summary.call_sid == CALL["CallSid"]
    assert summary.end_cause is EndCause.CALLER_HUNG_UP


def test_a_call_that_nobody_has_signed() -> None:
    port_of, callers = "http://127.0.0.1:{}", Callers()
    with house(twilio_auth_token=TOKEN) as open_house:
        port = open_house.server.port
        assert callers.upgrade_status(port, MEDIA_PATH, {}) == 403
        local = signed_headers(port_of.format(port) + MEDIA_PATH)
        assert callers.upgrade_status(port, MEDIA_PATH, local) == 403, "not what is signed"
        for path in (WEBHOOK_PATH, STATUS_PATH):
            assert open_house.ask(path, "POST", b"CallSid=CA1")[0] == 403
        assert open_house.ask(HEALTH_PATH)[0] == 200


def test_a_stream_without_a_ticket() -> None:
    media = signed_headers("wss://voice.example.com" + MEDIA_PATH)
    with house(twilio_auth_token=TOKEN) as open_house:
        caller = SimulatedCaller([Wait(WAIT_S)])
        run_client(caller, open_house.server.media_url, headers=media, deadline_s=WAIT_S)
        summary = open_house.summary()
    assert caller.record.closed is not None
    assert (caller.record.closed.code, caller.record.closed.by) == (1008, "engine")
    assert summary.end_cause is EndCause.TICKET_REFUSED


def test_a_handshake_that_fails_after_it_was_admitted_holds_no_place() -> None:
    get = f"GET {MEDIA_PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    with house(max_sockets_per_address=1) as open_house:
        with open_house.tcp(get) as plug:
            assert plug.recv(65_536).startswith(b"HTTP/1.1 426 ")
        while Callers().upgrade_status(open_house.server.port, MEDIA_PATH, {}) == 429:
            pass  # it is given back within the moment


LOOPBACK_MODEL = "ws://127.0.0.1:9"


@pytest.mark.parametrize(
    ("host", "given"),
    [
        ("127.0.0.1", {}),
        ("127.0.0.1", {"realtime_url": "wss://10.0.0.1/"}),
        ("0.0.0.0", {"realtime_url": LOOPBACK_MODEL}),
        ("127.0.0.1", {"realtime_url": LOOPBACK_MODEL, "public_url": PUBLIC_URL}),
        ("127.0.0.1", {"realtime_url": LOOPBACK_MODEL, "twilio_auth_token": TOKEN}),
    ],
)
def test_signatures_cannot_be_validated(host: str, given: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=r"TWILIO_AUTH_TOKEN.*CALLENGINE_PUBLIC_URL"):
        StandaloneServer(CallEngine(Settings(**given)), host=host)  # type: ignore[arg-type]


def test_a_public_url_that_was_passed_makes_it_no_test_bench() -> None:
    with pytest.raises(SettingsError, match="TWILIO_AUTH_TOKEN"):
        StandaloneServer(CallEngine(Settings(realtime_url=LOOPBACK_MODEL)), public_url=PUBLIC_URL)


@pytest.mark.parametrize(
    "header",
    ["X-Forwarded-For", "x-forwarded-proto", "Forwarded", "X-Twilio-Signature", "Origin"],
)
def test_a_test_bench_refuses_what_came_from_elsewhere(header: str) -> None:
    with house(public_url=None, validate_signatures=True) as open_house:
        assert Callers().upgrade_status(open_house.server.port, MEDIA_PATH, {header: "x"}) == 403
        status, _, body = open_house.ask(WEBHOOK_PATH, "POST", b"CallSid=CA1", **{header: "x"})
        assert status == 403
        assert "TWILIO_AUTH_TOKEN" in body
        assert open_house.call().heard, "without such headers it is let in"


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8080", 101),
        ("http://localhost", 101),
        ("https://evil.example", 403),
        ("http://127.0.0.1.evil.example", 403),
        ("null", 403),
        ("http://[::1", 403),
    ],
)
def test_a_test_bench_takes_no_page_of_elsewhere_for_a_caller(origin: str, status: int) -> None:
    with house(public_url=None, validate_signatures=True) as open_house:
        told = Callers().upgrade_status(open_house.server.port, MEDIA_PATH, {"Origin": origin})
    assert told == status


def test_a_test_bench_warns_once() -> None:
    lines: list[str] = []
    logger.enable("callengine")
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    try:
        with house(public_url=None, validate_signatures=True) as open_house:
            open_house.call()
            open_house.call()
    finally:
        logger.remove(sink)
        logger.disable("callengine")
    assert len([line for line in lines if "signatures are not validated" in line]) == 1


# ---- draining


def test_a_server_that_drains_hears_its_callers_out() -> None:
    with house() as open_house:
        caller = SimulatedCaller([WaitUntilHeard(WAIT_S), Wait(0.6)])
        call = open_house.begin(caller)
        draining = threading.Thread(target=open_house.server.drain, args=(WAIT_S,))
        draining.start()
        while open_house.ask(READY_PATH)[0] != 503:
            pass
        assert Callers().upgrade_status(open_house.server.port, MEDIA_PATH, {}) == 503
        call.join(WAIT_S)
        draining.join(WAIT_S)
        assert not draining.is_alive()
        with pytest.raises(ConnectionRefusedError):
            open_house.tcp()
    assert not caller.record.missed
    assert open_house.summary().end_cause is EndCause.CALLER_HUNG_UP


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD"])
def test_other_methods_are_answered_and_not_taken_for_get(method: str) -> None:
    with house() as open_house:
        assert open_house.ask(HEALTH_PATH, method, b"")[0] == 501
