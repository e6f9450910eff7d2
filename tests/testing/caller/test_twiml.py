from __future__ import annotations

import pytest

from callengine.edges.twiml import connect_stream
from callengine.testing.caller.script import Wait
from callengine.testing.caller.twiml import NextStep, steps_after_stream
from tests.testing.caller.rig import Call

URL = "https://x.example/after"
STREAM = '<Connect><Stream url="wss://x.example/media"/></Connect>'
ASKING = STREAM.replace("<Connect>", f'<Connect action="{URL}">')
FALLBACK = f"<Response>{STREAM}<Say>Sorry.</Say><Hangup/><Say>Never.</Say></Response>"
ACTION = f"<Response>{ASKING}<Say>Never.</Say></Response>"
REDIRECT = f"<Response><Say>Hello.</Say>{STREAM}<Redirect> /again </Redirect><Say/></Response>"
LISTENING = f'<Response><Start><Stream url="wss://other"/></Start>{STREAM}<Pause/></Response>'
SAY_HANG_UP = (NextStep("Say", "Sorry."), NextStep("Hangup"))
ASK = (NextStep("action", URL),)


@pytest.mark.parametrize(
    ("twiml", "steps"),
    [
        (f"<Response>{STREAM}</Response>", ()),
        (FALLBACK, SAY_HANG_UP),
        (ACTION, ASK),
        (REDIRECT, (NextStep("Redirect", "/again"),)),
        (LISTENING, (NextStep("Pause"),)),
        (connect_stream("wss://x.example/media", {"tenant": "7"}), (NextStep("Hangup"),)),
    ],
)
def test_what_follows_the_stream(twiml: str, steps: tuple[NextStep, ...]) -> None:
    assert steps_after_stream(twiml) == steps


@pytest.mark.parametrize(
    ("twiml", "told"),
    [
        ("", "no XML"),
        ("<Response>", "no XML"),
        ("<Response><Hangup/></Response>", "no <Connect><Stream>"),
        ("<Response><Connect><Room>x</Room></Connect></Response>", "no <Connect><Stream>"),
    ],
)
def test_what_connects_no_stream_is_refused(twiml: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        steps_after_stream(twiml)


@pytest.mark.edge_case(33)
@pytest.mark.parametrize("code", [1000, 1011, 1006])
@pytest.mark.parametrize(("twiml", "steps"), [(FALLBACK, SAY_HANG_UP), (ACTION, ASK)])
def test_when_the_agent_is_gone_twilio_goes_on(
    twiml: str, steps: tuple[NextStep, ...], code: int
) -> None:
    call = Call(Wait(9), twiml=twiml).run_to(1)
    call.close(code)
    call.close(code)
    assert call.record.next_steps == steps


def test_when_the_caller_has_hung_up_nothing_follows() -> None:
    call = Call(Wait(1), twiml=FALLBACK).run_to(2)
    call.close(1000)
    assert call.record.closed is not None
    assert call.record.next_steps == ()
