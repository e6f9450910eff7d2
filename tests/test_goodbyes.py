"""When a call cannot go on: the farewell, words that the carrier says, or somebody else's phone."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

import pytest

from callengine import EndCause, Prices, Settings
from callengine.edges import twilio_rest
from callengine.edges.twilio_rest import TwilioRest
from callengine.messages import TransferWanted
from callengine.records import EventNoted
from callengine.testing import Simulation, Wait
from callengine.testing.caller.stream import StreamFacts
from callengine.testing.held import noise
from callengine.testing.realtime.faults import AtResponse, CloseSocket
from tests.edges.test_twilio_rest import twilio
from tests.house import CALL_S, house
from tests.test_engine import END_S, model
from tests.test_fallback import (
    AGENT,
    ANSWER,
    FALLBACK,
    FAREWELL,
    GREETING,
    Told,
    another,
    asks,
    call,
    whole_frames,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN: Final = "0123456789abcdef"
NUMBER: Final = "+15550100"
STREAM: Final = StreamFacts(account_sid="AC7", call_sid="CA9")
WORDS: Final = 'We call you "back" & apologise; 5 < 7.'
CALLS_BACK: Final = replace(AGENT, transfer_number=NUMBER)
SPEAKS: Final = replace(AGENT, farewell=None, farewell_text=WORDS)
LOST: Final = CloseSocket(AtResponse(2, 500))


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{closed.getsockname()[1]}"


@contextlib.contextmanager
def answering(answer: bytes | None) -> Iterator[str]:
    """A server that takes a connection, says this, or nothing, and hangs up in the end."""
    over = threading.Event()

    def serve() -> None:
        plug, _ = listener.accept()
        with plug:
            plug.recv(65_536)
            if answer is None:
                over.wait(5.0)
            else:
                plug.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join()


def lost(agent: Any, **host: Any) -> tuple[Told, list[str]]:  # noqa: ANN401
    """A call whose model is lost for good in mid-sentence, and what was noted of it."""
    noted: list[str] = []

    def note(record: object) -> None:
        if isinstance(record, EventNoted):
            noted.append(f"{record.kind} {record.detail}".strip())

    told = call(
        *asks(Wait(60.0)),
        broken=[LOST],
        others=[another(broken=[CloseSocket(AtResponse(1, 0))])],
        agent=agent,
        stream=STREAM,
        note=note,
        **host,
    )
    assert told.summary.end_cause is EndCause.MODEL_LOST
    assert told.caller.closed is not None
    assert (told.caller.closed.code, told.caller.closed.by) == (1000, "engine")
    return told, noted


def heard_of_the_answer(told: Told) -> bytes:
    return GREETING.audio + whole_frames(told.models[0].responses[1].audio)


# ---- somebody else's phone


@pytest.mark.realtime
@pytest.mark.edge_case(32, 74, 83)
@pytest.mark.parametrize(
    ("status", "body"), [(200, {"status": "in-progress"}), (404, {"code": 20404})]
)
def test_the_caller_is_put_through_behind_the_farewell(status: int, body: object) -> None:
    """20404 says that the call is over: nothing is left to be done."""
    with twilio(status, body) as server:
        told, noted = lost(CALLS_BACK, redirect=TwilioRest(TOKEN, server.url).redirect)
    ((path, _, form),) = server.asked
    assert path == "/2010-04-01/Accounts/AC7/Calls/CA9.json"
    response = ElementTree.fromstring(form["Twiml"][0])
    assert [(verb.tag, verb.text) for verb in response] == [("Dial", NUMBER)]
    assert told.heard == heard_of_the_answer(told) + FAREWELL
    assert told.summary.transferred
    assert noted[-1] == "handed_over"


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "401": (lambda: twilio(401, {"code": 20003}), "HTTP 401"),
    "404 of another kind": (lambda: twilio(404, {"code": 20403}), "HTTP 404"),
    "429": (lambda: twilio(429, {"code": 20429}), "HTTP 429"),
    "500": (lambda: twilio(500), "HTTP 500"),
    "refused": (refusing, "cannot be reached"),
    "time out": (lambda: answering(None), "cannot be reached: TimeoutError"),
    "cut": (lambda: answering(b""), "cannot be reached"),
    "nonsense": (lambda: answering(b"NONSENSE\r\n\r\n"), "cannot be reached"),
}


@pytest.mark.realtime
@pytest.mark.edge_case(32, 83)
@pytest.mark.parametrize(("server", "why"), REFUSED.values(), ids=REFUSED)
def test_a_carrier_that_does_not_take_the_call_over_does_not_keep_it_from_ending(
    monkeypatch: pytest.MonkeyPatch, server: Callable[[], Any], why: str
) -> None:
    monkeypatch.setattr(twilio_rest, "TIMEOUT_S", 0.2)
    with server() as made:
        url = made if isinstance(made, str) else made.url
        told, noted = lost(CALLS_BACK, redirect=TwilioRest(TOKEN, url).redirect)
    assert told.heard == heard_of_the_answer(told) + FAREWELL
    assert not told.summary.transferred
    assert noted[-1].startswith("hand_over_failed Twilio")
    assert why in noted[-1]
    assert TOKEN not in noted[-1]
    assert told.summary.context_errors == 0, "the host has done nothing wrong"


@pytest.mark.edge_case(29, 32)
@pytest.mark.parametrize("end", ["stop", "cut"])
def test_a_carrier_that_takes_the_call_over_ends_the_stream_itself(end: str) -> None:
    """Twilio leaves `<Connect>` for the new TwiML: the stream stops before its answer is read."""
    made: list[Simulation] = []

    def redirect(*_: str) -> None:
        (simulation,) = made
        if end == "stop":
            stop = '{"event":"stop","sequenceNumber":"9","streamSid":"MZ","stop":{"callSid":"CA9"}}'
            simulation.call.received(stop)
        simulation.call.carrier_closed(1000, "")

    told = call(
        Wait(60.0),
        broken=[CloseSocket(AtResponse(1, 500))],
        agent=CALLS_BACK,
        stream=STREAM,
        redirect=redirect,
        sabotage=made.append,
    )
    assert told.summary.end_cause is EndCause.MODEL_LOST, "the first cause is the cause"
    assert told.summary.transferred


@pytest.mark.edge_case(29)
def test_a_caller_who_hangs_up_on_the_farewell_is_not_put_through() -> None:
    asked: list[object] = []
    told = call(
        Wait(4.0),
        broken=[CloseSocket(AtResponse(1, 500))],
        agent=replace(CALLS_BACK, farewell=noise(9.0, 503)),
        stream=STREAM,
        redirect=lambda *given: asked.append(given),
        settings=Settings(model_retries=0),
    )
    assert asked == []
    assert told.summary.end_cause is EndCause.MODEL_LOST
    assert not told.summary.transferred


# ---- words that the carrier says


@pytest.mark.realtime
@pytest.mark.edge_case(32)
def test_the_carrier_says_the_farewell_if_there_is_no_audio_of_it() -> None:
    with twilio(200, {}) as server:
        redirect = TwilioRest(TOKEN, server.url).redirect
        told, _ = lost(replace(SPEAKS, language="en-GB"), redirect=redirect)
    ((_, _, form),) = server.asked
    say, hang_up = ElementTree.fromstring(form["Twiml"][0])
    assert (say.tag, say.text, say.get("language")) == ("Say", WORDS, "en-GB")
    assert hang_up.tag == "Hangup"
    assert told.heard == heard_of_the_answer(told), "and not the clip as well"
    assert told.summary.transferred


@pytest.mark.edge_case(32)
def test_words_go_before_a_transfer_and_audio_before_words() -> None:
    asked: list[str] = []
    redirect = lambda _account, _call, twiml: asked.append(twiml)  # noqa: E731
    lost(replace(SPEAKS, transfer_number=NUMBER), redirect=redirect)
    lost(replace(CALLS_BACK, farewell_text=WORDS), redirect=redirect)
    tags = [[verb.tag for verb in ElementTree.fromstring(each)] for each in asked]
    assert tags == [["Say", "Dial"], ["Dial"]]


def test_without_a_way_to_ask_the_carrier_the_clip_is_heard() -> None:
    """Words that nobody can say are no reason for silence."""
    told, noted = lost(replace(SPEAKS, transfer_number=NUMBER))
    clip = replace(AGENT, farewell=None).farewell_audio()
    assert told.heard == heard_of_the_answer(told) + whole_frames(clip)
    assert not told.summary.transferred
    assert not any("hand" in each for each in noted)


def test_a_stream_without_an_account_is_not_put_through() -> None:
    """Nobody could be asked; it is closed like any other."""
    wanted: list[object] = []
    told = call(
        Wait(60.0),
        broken=[CloseSocket(AtResponse(1, 500))],
        agent=CALLS_BACK,
        start_overrides={"accountSid": ""},
        redirect=lambda *given: wanted.append(given),
        watch=lambda _at, _who, what: (
            wanted.append(what) if isinstance(what, TransferWanted) else None
        ),
    )
    assert wanted == []
    assert told.summary.end_cause is EndCause.MODEL_LOST
    assert told.heard.endswith(FAREWELL)


# ---- time and money


PRICES: Final = Prices(audio_in=32, audio_out=64, text_in=4, text_out=16)


def test_a_call_that_takes_too_long_ends_politely() -> None:
    told = call(*asks(Wait(60.0)), settings=Settings(max_call_s=5))
    assert told.summary.end_cause is EndCause.CALL_TOO_LONG
    assert told.heard.endswith(FAREWELL)
    assert told.heard == GREETING.audio + ANSWER.audio + FAREWELL, "nobody is cut short"
    assert told.caller.closed is not None
    assert told.caller.closed.code == 1000


@pytest.mark.parametrize(
    "budget",
    [{"max_call_tokens": 150}, {"max_call_usd": 0.004, "prices": PRICES}],
    ids=["tokens", "dollars"],
)
def test_a_call_that_costs_too_much_ends_behind_the_answer_that_did(budget: Any) -> None:  # noqa: ANN401
    told = call(*asks(Wait(60.0)), settings=Settings(**budget))
    usage = told.summary.usage
    spent = usage.input_tokens + usage.output_tokens
    assert told.summary.end_cause is EndCause.BUDGET_SPENT
    assert "spent" in told.summary.end_detail
    assert told.heard == GREETING.audio + ANSWER.audio + FAREWELL
    assert spent >= 150
    assert told.summary.model_reconnects == 0, "another session would cost as much"


def test_a_call_within_its_budget_goes_on() -> None:
    told = call(*asks(Wait(5.0)), settings=Settings(max_call_tokens=100_000))
    assert told.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert told.summary.usage.input_tokens > 0


def test_the_budget_counts_all_sessions_of_a_call() -> None:
    told = call(
        *asks(Wait(60.0)),
        broken=[CloseSocket(AtResponse(2, 0))],
        others=[another()],
        settings=Settings(max_call_tokens=150),
    )
    assert told.summary.end_cause is EndCause.BUDGET_SPENT
    assert told.summary.model_reconnects == 1


def test_a_limit_is_reached_by_a_transfer_too() -> None:
    asked: list[object] = []
    told = call(
        Wait(60.0),
        agent=CALLS_BACK,
        stream=STREAM,
        settings=Settings(max_call_s=3),
        redirect=lambda *given: asked.append(given),
    )
    assert told.summary.transferred
    assert len(asked) == 1
    assert told.heard == GREETING.audio + FAREWELL


# ---- over real sockets


@pytest.mark.realtime
@pytest.mark.edge_case(32, 74, 83)
def test_a_real_call_is_lost_tried_again_and_put_through() -> None:
    """The model cuts every session before it has said a word."""
    cut = CloseSocket(AtResponse(1, 0), 1011)
    agent = replace(AGENT, farewell=FAREWELL[:1_600], transfer_number=NUMBER)
    with (
        twilio(200, {}) as server,
        house(
            model(cut),
            agent,
            twilio_auth_token=TOKEN,
            twilio_api_url=server.url,
            validate_signatures=False,
        ) as open_house,
    ):
        record = open_house.call(Wait(CALL_S))
        summary = open_house.summary()
        sessions = len(open_house._models)
    assert summary.end_cause is EndCause.MODEL_LOST
    assert sessions == 2
    assert summary.model_reconnects == 1
    assert summary.transferred
    assert len(server.asked) == 1
    assert b"".join(span.payload for span in record.heard).endswith(FAREWELL[:1_600])
    assert FALLBACK not in b"".join(span.payload for span in record.heard)
    assert record.closed is not None
    assert (record.closed.code, record.closed.by) == (1000, "engine")
    assert record.closed.at - record.opened_at < 2 * END_S
