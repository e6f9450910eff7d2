"""TwilioIngress: raw Twilio JSON in, messages out."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from callengine.actors.shell import Barrier, Report
from callengine.actors.twilio_ingress import TwilioIngress
from callengine.audio.g711 import SILENCE_FRAME
from callengine.logs import CallLog
from callengine.machines.inbound import Inbound
from callengine.messages import (
    ActorCrashed,
    BeginAnew,
    CallEnding,
    CallerFrame,
    CarrierClosed,
    CarrierMessage,
    DtmfPressed,
    EndCause,
    MarkEchoed,
    Owner,
    Refusal,
    ReportRequest,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    StateChanged,
    StreamStarted,
)
from callengine.security.tickets import (
    LIFETIME_S,
    TICKET_PARAMETER,
    Ticket,
    TicketFault,
    Tickets,
)

if TYPE_CHECKING:
    from callengine.machines.inbound import InboundCounts
    from tests.actors.rig import Rig

STREAM_SID = "MZ" + "1" * 32
CALL_SID = "CA" + "2" * 32
LOUD = b"\x10" * 160


def frame(event: str, sequence: int, **body: object) -> CarrierMessage:
    message = {"event": event, "sequenceNumber": str(sequence), "streamSid": STREAM_SID}
    return CarrierMessage(json.dumps({**message, event: body}))


CONNECTED = CarrierMessage('{"event":"connected","protocol":"Call","version":"1.0.0"}')
START = frame(
    "start",
    1,
    accountSid="AC" + "3" * 32,
    streamSid=STREAM_SID,
    callSid=CALL_SID,
    tracks=["inbound"],
    mediaFormat={"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
    customParameters={"caller": "+15550100"},
)
STOP = frame("stop", 99, accountSid="AC" + "3" * 32, callSid=CALL_SID)
STARTED = StreamStarted(STREAM_SID, CALL_SID, {"caller": "+15550100"}, "AC" + "3" * 32)


def media(sequence: int, payload: bytes = LOUD, **body: object) -> CarrierMessage:
    audio = {"track": "inbound", "payload": base64.b64encode(payload).decode(), **body}
    return frame("media", sequence, **audio)


@pytest.fixture
def call_log() -> CallLog:
    return CallLog()


@pytest.fixture(autouse=True)
def _ingress(rig: Rig, call_log: CallLog) -> None:
    rig.place("ingress", TwilioIngress.start(rig.stepper, call_log))


@pytest.fixture
def _started(rig: Rig, _ingress: None) -> None:
    rig.tell(CONNECTED, START)
    rig.told_to_all()


def counts(rig: Rig) -> InboundCounts:
    rig.tell(ReportRequest())
    reports: list[Any] = [m for m in rig.told("supervisor") if isinstance(m, Report)]
    assert reports[-1].actor == "TwilioIngress"
    counts: InboundCounts = reports[-1].counts
    return counts


def test_the_start_of_the_stream_is_told_to_all_who_wait_for_it(rig: Rig) -> None:
    rig.tell(CONNECTED)
    assert rig.told_to_all() == {}
    rig.tell(START)
    assert rig.told_to_all() == {
        "pacer": [STARTED],
        "bridge": [STARTED],
        "supervisor": [STARTED],
        "host_calls": [STARTED],
        "watchdog": [StateChanged(Owner.CARRIER, "streaming", 1)],
    }


@pytest.mark.usefixtures("_started")
def test_caller_audio_goes_to_the_detector_and_to_the_model(rig: Rig) -> None:
    rig.tell(media(2), media(3, SILENCE_FRAME))
    heard = [CallerFrame(LOUD), CallerFrame(SILENCE_FRAME)]
    assert rig.told_to_all() == {"detector": heard, "bridge": heard}


@pytest.mark.usefixtures("_started")
def test_a_hole_is_filled_before_both_hear_of_what_comes_after(rig: Rig) -> None:
    rig.tell(media(2, timestamp="100"), media(3, timestamp="160"))
    heard = [CallerFrame(LOUD), CallerFrame(b"\xff" * 320), CallerFrame(LOUD)]
    assert rig.told("detector") == rig.told("bridge") == heard


@pytest.mark.usefixtures("_started")
def test_marks_go_to_the_pacer_and_digits_to_the_host(rig: Rig) -> None:
    rig.tell(frame("mark", 2, name="g0-r1-000200"))
    rig.tell(frame("dtmf", 3, track="inbound_track", digit="#"))
    assert rig.told_to_all() == {
        "pacer": [MarkEchoed("g0-r1-000200")],
        "host_calls": [DtmfPressed("#")],
    }


@pytest.mark.usefixtures("_started")
def test_hanging_up_ends_the_call_once(rig: Rig) -> None:
    rig.tell(STOP, media(100), CarrierClosed(1000, ""), START)
    assert rig.told_to_all() == {"supervisor": [CallEnding(EndCause.CALLER_HUNG_UP)]}


@pytest.mark.usefixtures("_started")
def test_a_socket_that_is_cut_ends_the_call(rig: Rig) -> None:
    rig.tell(CarrierClosed(1006, ""))
    told = CallEnding(EndCause.CARRIER_LOST, "the carrier's socket closed with 1006")
    assert rig.told_to_all() == {"supervisor": [told]}


def test_a_stream_that_never_starts_is_given_up_after_ten_seconds(rig: Rig) -> None:
    rig.run(until=9.9)
    assert rig.told_to_all() == {}
    rig.run(until=10.1)
    (ending,) = rig.told("supervisor")
    assert ending.cause is EndCause.START_TIMEOUT


@pytest.mark.usefixtures("_started")
def test_frames_that_cease_are_made_up_in_real_time(rig: Rig) -> None:
    rig.tell(media(2))
    rig.told_to_all()
    rig.run(until=5.0)
    heard = rig.told("bridge")
    assert rig.told("detector") == heard
    silence = b"".join(frame.payload for frame in heard)
    assert silence == b"\xff" * len(silence)
    assert 4.7 <= len(silence) / 8000 <= 5.0


@pytest.mark.usefixtures("_started")
@pytest.mark.parametrize(
    "message", ["", "{", "[]", "null", '{"event":"media"}', b"\x00\xff", '{"event":7}', "{}"]
)
def test_what_cannot_be_read_is_counted_and_harms_nobody(rig: Rig, message: str | bytes) -> None:
    rig.tell(CarrierMessage(message), media(2))
    assert rig.told("bridge") == [CallerFrame(LOUD)]
    assert counts(rig).malformed.total() == 1
    assert rig.told("supervisor") == []


@pytest.mark.usefixtures("_started")
def test_a_news_event_of_the_carrier_is_counted(rig: Rig) -> None:
    rig.tell(CarrierMessage('{"event":"hologram","streamSid":"MZ1"}'))
    assert counts(rig).unknown_messages == 1


@pytest.mark.usefixtures("_started")
def test_progress_is_reported_and_a_reset_answered(rig: Rig) -> None:
    ask = ResetRequest(Owner.CARRIER, ResetReason.CARRIER_SILENT, if_version=1)
    rig.run(until=1.5)
    rig.tell(media(2), ask)
    assert rig.told("watchdog") == [
        StateChanged(Owner.CARRIER, "streaming", 2),
        ResetRefused(Owner.CARRIER, ResetReason.CARRIER_SILENT, Refusal.VERSION_MOVED),
    ]
    rig.tell(ResetRequest(Owner.CARRIER, ResetReason.CARRIER_SILENT, if_version=2))
    assert rig.told("watchdog") == [ResetGranted(Owner.CARRIER, ResetReason.CARRIER_SILENT)]
    (ending,) = rig.told("supervisor")
    assert ending.cause is EndCause.CARRIER_SILENT


@pytest.mark.usefixtures("_started")
def test_frames_are_counted(rig: Rig) -> None:
    rig.tell(media(2), media(3), media(3))
    got = counts(rig)
    assert (got.frames, got.payload_bytes, got.duplicates) == (2, 320, 1)


def test_a_reader_that_waits_finds_everything_handled(rig: Rig) -> None:
    for message in (CONNECTED, START, media(2)):
        rig.actor.tell(message)
    rig.actor.ask(Barrier())
    assert rig.actor.actor_inbox.empty()


def test_the_log_is_named_by_the_first_start(rig: Rig, call_log: CallLog) -> None:
    rig.tell(CONNECTED)
    assert call_log.call_sid == "-"
    rig.tell(START)
    assert call_log.call_sid == CALL_SID
    rig.tell(frame("start", 2, callSid="CA" + "9" * 32))
    assert call_log.call_sid == CALL_SID


def crash(rig: Rig, monkeypatch: pytest.MonkeyPatch, message: object) -> None:
    """It dies of a message."""
    with monkeypatch.context() as patched:

        def handle(*_: object) -> None:
            raise ValueError

        patched.setattr(Inbound, "handle", handle)
        rig.tell(message)


@pytest.mark.usefixtures("_started")
@pytest.mark.parametrize(
    ("message", "left"),
    [
        (STOP, {"supervisor": [CallEnding(EndCause.CALLER_HUNG_UP)]}),
        (
            CarrierClosed(1006, "secret"),
            {
                "supervisor": [
                    CallEnding(EndCause.CARRIER_LOST, "the carrier's socket closed with 1006")
                ]
            },
        ),
        (
            START,
            {"supervisor": [CallEnding(EndCause.CRASHED, "the start of the stream was lost")]},
        ),
        (frame("mark", 2, name="g0-r1-000200"), {"pacer": [MarkEchoed("g0-r1-000200")]}),
        (frame("dtmf", 3, digit="#"), {"host_calls": [DtmfPressed("#")]}),
        (media(2), {}),
        (CarrierMessage("{"), {}),
    ],
)
def test_what_the_carrier_says_only_once_is_not_lost_with_the_one_who_dies_of_it(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    message: object,
    left: dict[str, list[object]],
) -> None:
    crash(rig, monkeypatch, message)
    told = rig.told_to_all()
    assert isinstance(told["supervisor"].pop(), ActorCrashed)
    assert {name: messages for name, messages in told.items() if messages} == left


@pytest.mark.usefixtures("_started")
def test_one_that_begins_anew_goes_on_with_the_stream(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.tell(media(2, timestamp="100"))
    rig.told_to_all()
    crash(rig, monkeypatch, media(3, timestamp="120"))
    rig.tell(media(4, timestamp="140"))
    (crashed,) = rig.told("supervisor")
    assert crashed.counts.frames == 1
    assert rig.told_to_all() == {}
    rig.tell(BeginAnew((STARTED,)), media(5, timestamp="160"))
    heard = [CallerFrame(LOUD)] * 2
    assert rig.told_to_all() == {
        "detector": heard,
        "bridge": heard,
        "watchdog": [StateChanged(Owner.CARRIER, "streaming", 1)],
    }
    assert counts(rig).frames == 2


# ---- tickets

TICKET = Ticket(CALL_SID, "+15551234567", "+15557654321")
ADMITTED = replace(STARTED, caller=TICKET.caller, called=TICKET.called)


def starting(token: str | None, call_sid: str = CALL_SID, **more: object) -> CarrierMessage:
    """A start, with a ticket among its parameters."""
    message = json.loads(START.message)
    message["start"] |= {"callSid": call_sid, **more}
    if token is not None:
        message["start"]["customParameters"][TICKET_PARAMETER] = token
    return CarrierMessage(json.dumps(message))


@pytest.fixture
def tickets(rig: Rig, _ingress: None, call_log: CallLog) -> Tickets:
    """Nobody is served without one now."""
    desk = Tickets(bytes(32))
    rig.place("ingress", TwilioIngress.start(rig.stepper, call_log, desk))
    return desk


def token_of(fault: TicketFault, tickets: Tickets) -> str | None:
    now = time.time()
    token = tickets.issue(TICKET, now)
    if fault is TicketFault.USED:
        tickets.redeem(token, CALL_SID, now)
    tokens = {
        TicketFault.MISSING: None,
        TicketFault.MALFORMED: "one-time-abc",
        TicketFault.FOREIGN: Tickets(b"another desk, another secret").issue(TICKET, now),
        TicketFault.EXPIRED: tickets.issue(TICKET, now - LIFETIME_S - 1),
        TicketFault.USED: token,
    }
    return tokens[fault]


@pytest.mark.edge_case(18)
def test_a_start_with_a_ticket_is_told_with_the_numbers_and_without_the_ticket(
    rig: Rig, tickets: Tickets
) -> None:
    rig.tell(CONNECTED, starting(tickets.issue(TICKET, time.time())))
    assert rig.told_to_all() == {
        "pacer": [ADMITTED],
        "bridge": [ADMITTED],
        "supervisor": [ADMITTED],
        "host_calls": [ADMITTED],
        "watchdog": [StateChanged(Owner.CARRIER, "streaming", 1)],
    }
    rig.tell(media(2))
    assert rig.told("bridge") == [CallerFrame(LOUD)]


@pytest.mark.edge_case(18)
@pytest.mark.parametrize("fault", [each for each in TicketFault if each is not TicketFault.NO_ROOM])
def test_a_start_without_a_valid_ticket_is_told_to_nobody_and_ends_the_call(
    rig: Rig, tickets: Tickets, call_log: CallLog, fault: TicketFault
) -> None:
    good = tickets.issue(TICKET, time.time())
    rig.tell(CONNECTED, starting(token_of(fault, tickets)))
    refused = CallEnding(EndCause.TICKET_REFUSED, f"the ticket is {fault}")
    assert rig.told_to_all() == {"supervisor": [refused]}
    assert call_log.call_sid == CALL_SID, "the log says of which call"
    rig.tell(media(2), frame("dtmf", 3, digit="1"), starting(good), STOP, CarrierClosed(1006, ""))
    rig.run(until=60)
    assert rig.told_to_all() == {}
    assert tickets.redeem(good, CALL_SID, time.time()) == TICKET, "nor is another looked at"


@pytest.mark.edge_case(18)
def test_a_ticket_is_for_the_call_that_it_was_issued_for(rig: Rig, tickets: Tickets) -> None:
    rig.tell(starting(tickets.issue(TICKET, time.time()), "CA" + "9" * 32))
    refused = CallEnding(EndCause.TICKET_REFUSED, "the ticket is foreign")
    assert rig.told_to_all() == {"supervisor": [refused]}


def test_without_tickets_a_parameter_of_that_name_is_the_hosts(rig: Rig) -> None:
    rig.tell(starting("whatever"))
    (started,) = rig.told("host_calls")
    assert started.custom_parameters == {"caller": "+15550100", "ticket": "whatever"}


def test_a_second_start_is_one_whatever_its_ticket(rig: Rig, tickets: Tickets) -> None:
    now = time.time()
    rig.tell(starting(tickets.issue(TICKET, now)))
    rig.told_to_all()
    another = tickets.issue(TICKET, now)
    rig.tell(starting(another))
    (ending,) = rig.told("supervisor")
    assert ending.cause is EndCause.SECOND_START
    assert tickets.redeem(another, CALL_SID, now) == TICKET, "it was not looked at"


def test_a_ticket_does_not_make_a_stream_that_cannot_be_heard_one_that_can(
    rig: Rig, tickets: Tickets
) -> None:
    stereo = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2}
    rig.tell(starting(tickets.issue(TICKET, time.time()), mediaFormat=stereo))
    (ending,) = rig.told("supervisor")
    assert ending.cause is EndCause.UNSUPPORTED_MEDIA
    assert rig.told_to_all() == {}


def test_one_that_begins_anew_needs_no_ticket_again(
    rig: Rig, tickets: Tickets, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.tell(starting(tickets.issue(TICKET, time.time())))
    crash(rig, monkeypatch, media(2))
    rig.told_to_all()
    rig.tell(BeginAnew((ADMITTED,)), media(3))
    assert rig.told_to_all() == {
        "detector": [CallerFrame(LOUD)],
        "bridge": [CallerFrame(LOUD)],
        "watchdog": [StateChanged(Owner.CARRIER, "streaming", 1)],
    }


@pytest.mark.edge_case(18)
def test_one_that_begins_anew_before_the_start_still_asks_for_the_ticket(
    rig: Rig, tickets: Tickets, monkeypatch: pytest.MonkeyPatch
) -> None:
    crash(rig, monkeypatch, CONNECTED)
    rig.tell(BeginAnew(), starting(None))
    assert rig.told("supervisor")[-1] == CallEnding(
        EndCause.TICKET_REFUSED, "the ticket is missing"
    )
    assert rig.told("bridge") == []


@pytest.mark.edge_case(18)
def test_a_ticket_is_in_no_record_and_no_message(rig: Rig, tickets: Tickets) -> None:
    token = tickets.issue(TICKET, time.time())
    rig.tell(starting(token))
    assert token not in str(rig.logged()) + str(rig.told_to_all())
    assert "1234567" not in str(rig.logged()) + str(rig.told_to_all())
