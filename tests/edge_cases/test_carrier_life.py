"""How a carrier's stream begins and ends, in every way it may."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from callengine import Agent, EndCause, Settings
from callengine.agent import StreamStarted
from callengine.edges.twiml import connect_stream
from callengine.testing import DropSocket, HangUp, SendRaw, Wait, WaitUntilHeard, laws
from callengine.testing.caller.stream import ABSENT, StreamFacts
from callengine.testing.caller.twiml import NextStep
from callengine.testing.held import noise
from callengine.testing.realtime import faults
from tests.edge_cases.carrier_calls import (
    ASK,
    GREETED,
    asked_and_answered,
    call,
    check,
    closed,
    model_hung_up_on_s,
    stream,
)

if TYPE_CHECKING:
    from callengine.testing.caller.script import Step

NEVER_S = 1_000.0
FALLBACK = (
    '<Response><Connect><Stream url="wss://x.example/media"/></Connect>'
    "<Say>Please call again.</Say><Hangup/></Response>"
)
FALLBACK_STEPS = (NextStep("Say", "Please call again."), NextStep("Hangup"))
ACTION = FALLBACK.replace("<Connect>", '<Connect action="https://x.example/after">')
ACTION_STEPS = (NextStep("action", "https://x.example/after"),)
SPEAKING: list[Step] = [WaitUntilHeard(5.0), Wait(0.3)]
CUT_SHORT = (laws.counters_agree, laws.whole_replies_are_heard, laws.a_protected_greeting_is_heard)


# ---- the beginning


@pytest.mark.edge_case(1)
@pytest.mark.parametrize("connected", [True, False])
def test_a_stream_that_never_starts_is_closed_after_ten_seconds(*, connected: bool) -> None:
    facts = StreamFacts(sends_connected=connected)
    held = call([], start_delay_s=NEVER_S, stream=facts, twiml=FALLBACK)
    assert held.summary.end_cause is EndCause.START_TIMEOUT
    assert closed(held) == (1008, "engine")
    assert held.caller.closed is not None
    assert held.caller.closed.at == pytest.approx(10.0, abs=0.02)
    assert held.caller.next_steps == FALLBACK_STEPS
    assert held.model.opened_at is None, "nobody was called for nobody"


@pytest.mark.edge_case(2)
@pytest.mark.parametrize("start_delay_s", [0.0, 3.0])
def test_what_comes_before_the_start_is_dropped_and_counted(start_delay_s: float) -> None:
    early = stream()
    loud = b"\x20" * 160
    messages = [*(early.media(loud, n) for n in range(100)), early.mark("m")]
    held = call(before_start=messages, start_delay_s=start_delay_s)
    check(held, laws.a_wait_is_filled)  # which counts from the socket's opening, not from the start
    asked_and_answered(held)
    assert held.summary.inbound.early_messages == 101
    assert loud not in held.model.appended


@pytest.mark.edge_case(3)
@pytest.mark.parametrize("connected_messages", [0, 1, 2])
def test_a_start_needs_no_connected(connected_messages: int) -> None:
    late: list[Step] = [SendRaw(stream().connected())] * connected_messages
    held = call([*late, *ASK], stream=StreamFacts(sends_connected=False))
    check(held)
    asked_and_answered(held)


@pytest.mark.edge_case(6)
@pytest.mark.parametrize("another", [True, False])
def test_a_second_start_ends_the_call_and_mixes_no_ids(*, another: bool) -> None:
    second = stream(stream_sid="MZ" + "f" * 32 if another else None).start({})
    held = call([*SPEAKING, SendRaw(second), Wait(NEVER_S)], twiml=FALLBACK)
    assert held.summary.end_cause is EndCause.SECOND_START
    assert closed(held) == (1008, "engine")
    assert held.summary.stream_sid == held.caller.stream_sid
    assert model_hung_up_on_s(held) < 0.05
    check(held, *CUT_SHORT)
    assert held.caller.next_steps == FALLBACK_STEPS


@pytest.mark.edge_case(17)
@pytest.mark.parametrize(
    ("media_format", "told"),
    [
        ({"encoding": "audio/l16", "sampleRate": 16_000}, "audio/l16 16000 Hz 1 channels"),
        ({"encoding": "audio/x-alaw"}, "audio/x-alaw 8000 Hz"),
        ({"sampleRate": 16_000}, "audio/x-mulaw 16000 Hz"),
        ({"channels": 2}, "2 channels"),
    ],
)
def test_another_media_format_is_refused_with_its_name(
    media_format: dict[str, Any], told: str
) -> None:
    held = call([Wait(NEVER_S)], start_overrides={"mediaFormat": media_format}, twiml=FALLBACK)
    assert held.summary.end_cause is EndCause.UNSUPPORTED_MEDIA
    assert told in held.summary.end_detail
    assert closed(held) == (1003, "engine")
    assert held.caller.frames == [], "no static for the caller"
    assert held.model.opened_at is None, "and none for the model"
    assert held.caller.next_steps == FALLBACK_STEPS


@pytest.mark.edge_case(17)
@pytest.mark.parametrize(
    "media_format",
    [{"sampleRate": "8000"}, {"sampleRate": 8000.0, "channels": "1"}, {"channels": ABSENT}],
    ids=str,
)
def test_a_media_format_in_other_words_is_the_same(media_format: dict[str, Any]) -> None:
    held = call(start_overrides={"mediaFormat": media_format})
    check(held)
    asked_and_answered(held)


@pytest.mark.edge_case(18)
@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        (ABSENT, {}),
        (None, {}),
        ({"näme": "Zoë ☎"}, {"näme": "Zoë ☎"}),
        ({"p": "x" * 498}, {"p": "x" * 498}),
        ({"token": "of another call, used before"}, {"token": "of another call, used before"}),
    ],
    ids=["absent", "null", "not ASCII", "499 characters", "token"],
)
def test_custom_parameters_reach_the_host_who_alone_can_judge_them(
    parameters: object, told: dict[str, str]
) -> None:
    events: list[object] = []
    held = call(
        [GREETED],
        agent=Agent(on_event=events.append),
        start_overrides={"customParameters": parameters},
    )
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    starts = [each for each in events if isinstance(each, StreamStarted)]
    (account_sid,) = {each.account_sid for each in starts}
    assert starts == [
        StreamStarted(held.caller.stream_sid, held.caller.call_sid, told, account_sid)
    ]


# ---- the end


ENDS: list[tuple[Step, EndCause, str]] = [
    (HangUp(), EndCause.CALLER_HUNG_UP, ""),
    (DropSocket(abrupt=False, code=1000), EndCause.CARRIER_LOST, "1000"),
    (DropSocket(abrupt=False, code=1001), EndCause.CARRIER_LOST, "1001"),
    (DropSocket(abrupt=False, code=1005), EndCause.CARRIER_LOST, "1005"),
    (DropSocket(abrupt=False, code=1011), EndCause.CARRIER_LOST, "1011"),
    (DropSocket(), EndCause.CARRIER_LOST, "1006"),
]


@pytest.mark.edge_case(5, 29)
@pytest.mark.parametrize(("end", "cause", "told"), ENDS, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("moment", ["before the model", "speaking", "silent"])
def test_however_the_carrier_goes_the_clean_up_is_the_same(
    end: Step, cause: EndCause, told: str, moment: str
) -> None:
    moments: dict[str, list[Step]] = {"speaking": SPEAKING, "silent": [GREETED]}
    steps = moments.get(moment, [])
    late = faults.DelaySessionCreated(None)
    model_faults = [late] if moment == "before the model" else []
    held = call([*steps, Wait(0.02), end, Wait(9.0)], model_faults=model_faults, twiml=FALLBACK)
    assert held.summary.end_cause is cause
    assert told in held.summary.end_detail
    assert closed(held)[1] == "caller"
    assert model_hung_up_on_s(held) < 0.05
    check(held, *CUT_SHORT)
    assert held.caller.next_steps == (), "there is nobody left to say it to"


@pytest.mark.edge_case(4)
@pytest.mark.parametrize("stops", [1, 2])
@pytest.mark.parametrize("started", [True, False])
def test_a_stop_ends_the_call_although_the_socket_stays_open(*, started: bool, stops: int) -> None:
    messages = [stream().stop()] * stops
    if started:
        held = call([*SPEAKING, *map(SendRaw, messages), Wait(NEVER_S)])
    else:
        held = call([], before_start=messages, start_delay_s=NEVER_S)
    assert (held.summary.end_cause, closed(held)) == (EndCause.CALLER_HUNG_UP, (1000, "engine"))
    assert held.summary.end_detail == ""
    assert held.summary.duration_s < 3.0
    if started:
        assert model_hung_up_on_s(held) < 0.05
        check(held, *CUT_SHORT)
    else:
        assert held.model.opened_at is None


@pytest.mark.edge_case(4)
def test_a_stop_and_then_all_that_usually_follows_is_one_end() -> None:
    held = call([*SPEAKING, SendRaw(stream().stop()), HangUp()])
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert model_hung_up_on_s(held) < 0.05


@pytest.mark.edge_case(29)
@pytest.mark.parametrize(("end", "told"), [(HangUp(), 1000), (DropSocket(), 1006)])
@pytest.mark.parametrize("waited_s", [0.3, 0.6, 2.5])
def test_who_hangs_up_on_the_farewell_is_not_waited_for(
    waited_s: float, end: Step, told: int
) -> None:
    lost = faults.CloseSocket(faults.AtResponse(1, audio_ms=500))
    held = call(
        [WaitUntilHeard(5.0), Wait(waited_s), end],
        agent=Agent(farewell=noise(3.0, 77)),
        model_faults=[lost],
        settings=Settings(model_retries=0),
    )
    assert held.summary.end_cause is EndCause.MODEL_LOST, "the first cause is the cause"
    assert closed(held) == (told, "caller")
    assert held.caller.closed is not None
    assert held.summary.duration_s < held.caller.closed.at + 0.05


# ---- what Twilio does next


@pytest.mark.edge_case(33)
@pytest.mark.parametrize(("twiml", "steps"), [(FALLBACK, FALLBACK_STEPS), (ACTION, ACTION_STEPS)])
@pytest.mark.parametrize(
    ("model_faults", "cause"),
    [
        (faults.key_refused(), EndCause.MODEL_REFUSED),
        ((faults.CloseSocket(faults.AtResponse(1, 500), abrupt=True),), EndCause.MODEL_LOST),
        ((faults.RefuseSessionUpdate(),), EndCause.SESSION_REFUSED),
    ],
    ids=["refused", "lost", "session refused"],
)
def test_when_we_close_twilio_goes_on_with_the_call(
    model_faults: tuple[faults.Fault, ...],
    cause: EndCause,
    twiml: str,
    steps: tuple[NextStep, ...],
) -> None:
    held = call([Wait(60.0)], model_faults=model_faults, twiml=twiml)
    assert (held.summary.end_cause, closed(held)) == (cause, (1000, "engine"))
    assert held.caller.next_steps == steps
    assert held.caller.unheard_bytes == 0, "what the caller was to hear was heard first"


@pytest.mark.edge_case(33)
def test_our_own_twiml_hangs_up_when_we_close() -> None:
    held = call(
        [*SPEAKING, SendRaw(stream().stop()), Wait(9.0)],
        twiml=connect_stream("wss://voice.example.com/media-stream", {"tenant": "7"}),
    )
    assert held.caller.next_steps == (NextStep("Hangup"),)


@pytest.mark.edge_case(30)
def test_a_stream_knows_nothing_of_another_one_of_the_same_call() -> None:
    call_sid = "CA" + "1" * 32
    foreign = stream(seed=9, call_sid=call_sid).media(b"\x20" * 160, 0)
    held = call([*ASK, SendRaw(foreign), Wait(0.1)], stream=StreamFacts(call_sid=call_sid))
    check(held)
    asked_and_answered(held)
    assert held.summary.inbound.foreign_frames == 1
    assert b"\x20" * 160 not in held.model.appended
