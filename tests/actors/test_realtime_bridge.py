"""RealtimeBridge: the model's JSON in and out, judged by the openai package's own types."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from callengine.actors.realtime_bridge import MAX_KINDS_LOGGED, RealtimeBridge, brief_of
from callengine.actors.shell import Report
from callengine.agent import Agent, Tool, VadConfig
from callengine.machines.dialogue import Dialogue
from callengine.machines.metering import Budget
from callengine.machines.response_terms import Settlement
from callengine.messages import (
    AgentSaid,
    AnswerOwed,
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallEnding,
    CallerFrame,
    CallerSaid,
    CallerSpoke,
    CloseSocket,
    EndCause,
    HeardItem,
    Interrupted,
    ModelAlive,
    ModelClosed,
    ModelConnected,
    ModelHeardSpeech,
    ModelMessage,
    Owner,
    PlayAudio,
    Refusal,
    ReportRequest,
    ResetReason,
    ResetRefused,
    ResetRequest,
    ResponseHeard,
    StreamStarted,
    ToolCalled,
    ToolReturned,
)
from callengine.reports import BridgeReport
from tests.actors.rig import ModelTape
from tests.openai_types import validate_client

if TYPE_CHECKING:
    from tests.actors.rig import Rig

STARTED = StreamStarted("MZ1", "CA1", {})
SECRET = "my card number is 4111"
LOUD = b"\x10" * 160
WEATHER = Tool("weather", "Tells the weather.", {"type": "object", "properties": {}}, dict)


class Model:
    """A bridge with its neighbours, seen from the model's end of the socket."""

    def __init__(self, rig: Rig, agent: Agent) -> None:
        self.rig = rig
        self.link = ModelTape()

        dialogue = Dialogue(brief_of(agent), retries=0, budget=Budget())
        rig.place("bridge", RealtimeBridge.start(rig.stepper, rig.log, self.link, dialogue))

    def says(self, kind: str, **body: object) -> None:
        """An event of the model arrives."""
        self.rig.tell(ModelMessage(json.dumps({"type": kind, "event_id": "e1", **body})))

    def sent(self) -> list[dict[str, Any]]:
        """The frames sent to the model since last asked: each is one that it would accept."""
        frames = [json.loads(rest[0]) for how, *rest in self.link.tape if how.startswith("send")]
        self.link.tape.clear()
        for frame in frames:
            validate_client(frame)
        return frames

    def connect(self) -> None:
        """Open the socket and confirm the session."""
        self.rig.tell(STARTED, ModelConnected())
        (update,) = self.sent()
        self.confirm(update["session"])

    def confirm(self, session: dict[str, Any]) -> None:
        """The session is in force."""
        self.says("session.updated", session=session)

    def begins(self, response_id: str, **response: object) -> None:
        """A response begins."""
        self.says("response.created", response={"id": response_id, **response})

    def speaks(self, response_id: str, audio: bytes, item_id: str = "item_1") -> None:
        """Audio of a response arrives."""
        delta = base64.b64encode(audio).decode()
        place = {"response_id": response_id, "item_id": item_id, "content_index": 0}
        self.says("response.output_audio.delta", **place, delta=delta)

    def ends(self, response_id: str, status: str = "completed", **response: object) -> None:
        """A response ends."""
        self.says("response.done", response={"id": response_id, "status": status, **response})

    def report(self) -> BridgeReport:
        """What the bridge counted."""
        self.rig.tell(ReportRequest())
        (report,) = [m for m in self.rig.told("supervisor") if isinstance(m, Report)]
        assert report.actor == "RealtimeBridge"
        assert isinstance(report.counts, BridgeReport)
        return report.counts


@pytest.fixture
def model(rig: Rig) -> Model:
    """A session that is live, without a greeting."""
    model = Model(rig, Agent(greeting=None, tools=(WEATHER,)))
    model.connect()
    rig.told_to_all()
    model.sent()
    return model


@pytest.fixture
def speaking(model: Model, rig: Rig) -> Model:
    """The model is in the middle of an answer: a second of it has come."""
    model.begins("resp_1")
    model.speaks("resp_1", LOUD * 50)
    rig.told_to_all()
    return model


# ---- the session


def test_the_socket_opens_when_the_stream_starts_and_not_before(rig: Rig) -> None:
    model = Model(rig, Agent())
    rig.tell(CallerFrame(LOUD), ModelConnected())
    assert model.link.tape == []
    rig.tell(STARTED)
    assert model.link.tape == [("connect",)]


@pytest.mark.parametrize(
    "agent",
    [
        Agent(),
        Agent(greeting=None, transcription_model=None),
        Agent(language="el", max_output_tokens=100, tools=(WEATHER,), voice="cedar"),
        Agent(vad=VadConfig(type="semantic_vad", eagerness="low")),
        Agent(instructions="καλημέρα \U0001f600 \ud800"),
    ],
    ids=["default", "bare", "full", "semantic", "any text"],
)
def test_the_session_is_configured_for_the_telephone(rig: Rig, agent: Agent) -> None:
    model = Model(rig, agent)
    rig.tell(STARTED, ModelConnected())
    (update,) = model.sent()
    assert update["type"] == "session.update"
    audio = update["session"]["audio"]
    assert audio["input"]["format"] == audio["output"]["format"] == {"type": "audio/pcmu"}
    protects = agent.greeting is not None
    assert audio["input"]["turn_detection"]["interrupt_response"] is not protects


def test_audio_waits_for_the_session_and_is_then_sent_in_order(rig: Rig) -> None:
    model = Model(rig, Agent(greeting=None))
    rig.tell(STARTED, CallerFrame(LOUD), ModelConnected(), CallerFrame(LOUD[:80]))
    (update,) = model.sent()
    model.confirm(update["session"])
    rig.tell(CallerFrame(b"\xff" * 160))
    appends = model.sent()
    assert {frame["type"] for frame in appends} == {"input_audio_buffer.append"}
    audio = b"".join(base64.b64decode(frame["audio"]) for frame in appends)
    assert audio == LOUD + LOUD[:80] + b"\xff" * 160


def test_caller_audio_goes_out_as_media_and_everything_else_as_control(rig: Rig) -> None:
    model = Model(rig, Agent())
    model.connect()
    rig.tell(CallerFrame(LOUD))
    ways = {json.loads(rest[0])["type"]: how for how, *rest in model.link.tape}
    assert ways == {"response.create": "send", "input_audio_buffer.append": "send_media"}


def test_a_session_on_another_format_ends_the_call(rig: Rig) -> None:
    model = Model(rig, Agent())
    rig.tell(STARTED, ModelConnected())
    rig.told_to_all()
    pcm = {"format": {"type": "audio/pcm", "rate": 24_000}}
    model.confirm({"audio": {"input": pcm, "output": pcm}})
    (ending,) = rig.told("supervisor")
    assert ending.cause is EndCause.SESSION_REFUSED


def test_a_model_that_does_not_answer_ends_the_call(rig: Rig) -> None:
    Model(rig, Agent())
    rig.tell(STARTED)
    rig.run(until=10.1)
    (ending,) = rig.told("supervisor")
    assert ending.cause is EndCause.MODEL_UNREACHABLE


def test_a_socket_that_is_gone_ends_the_call_with_its_cause(rig: Rig, model: Model) -> None:
    rig.tell(ModelClosed(EndCause.SESSION_EXPIRED, "the model closed with 1001"))
    told = CallEnding(EndCause.SESSION_EXPIRED, "the model closed with 1001")
    assert rig.told("supervisor") == [told]
    rig.tell(CallerFrame(LOUD))
    assert model.sent() == []


def test_closing_closes_the_link(rig: Rig, model: Model) -> None:
    rig.tell(CloseSocket(1000, ""))
    assert model.link.tape == [("close",)]


def test_what_the_link_tells_reaches_the_bridge(model: Model) -> None:
    assert model.link.tell_bridge is not None
    model.link.tell_bridge(ModelMessage('{"type":"nonsense"}'))
    assert model.report().conversation.unknown_events == 1


# ---- the greeting


def test_the_greeting_is_asked_for_protected_and_let_go_when_it_was_heard(rig: Rig) -> None:
    model = Model(rig, Agent(greeting="Say hello.", fallback=b"a moment"))
    model.connect()
    (create,) = model.sent()
    assert create["type"] == "response.create"
    assert create["response"]["instructions"] == "Say hello."
    model.begins("resp_1", metadata=create["response"]["metadata"])
    model.speaks("resp_1", LOUD)
    assert rig.told("pacer") == [
        AnswerOwed(b"a moment"),
        PlayAudio("resp_1", "item_1", 0, LOUD, 0, protected=True),
    ]
    model.ends("resp_1")
    assert rig.told("pacer") == [AudioComplete("resp_1")]
    rig.tell(CallerSpoke(1))
    assert model.sent() == [], "nobody interrupts it, and nothing of it is truncated"
    rig.tell(ResponseHeard("resp_1"))
    (update,) = model.sent()
    assert update["session"]["audio"]["input"]["turn_detection"]["interrupt_response"] is True


# ---- answers


def test_audio_is_played_under_the_generation_last_heard_of(rig: Rig, model: Model) -> None:
    model.begins("resp_1")
    model.speaks("resp_1", LOUD[:7])
    rig.tell(Interrupted(1, 3, "resp_0"), BargeInConfirmed(3, ()))
    model.ends("resp_1", "cancelled")
    model.begins("resp_2")
    model.speaks("resp_2", LOUD, "item_2")
    first, owed, *rest = rig.told("pacer")
    assert first == PlayAudio("resp_1", "item_1", 0, LOUD[:7], 0)
    assert isinstance(owed, AnswerOwed), "the model has not heard whoever interrupted"
    assert rest == [AudioComplete("resp_1"), PlayAudio("resp_2", "item_2", 0, LOUD, 3)]


def test_an_interruption_cancels_by_id_and_truncates_when_it_is_sure(
    rig: Rig, speaking: Model
) -> None:
    rig.tell(Interrupted(1, 1, "resp_1"))
    (cancel,) = speaking.sent()
    assert (cancel["type"], cancel["response_id"]) == ("response.cancel", "resp_1")
    speaking.speaks("resp_1", LOUD)
    (kept,) = rig.told("pacer")
    assert isinstance(kept, PlayAudio)
    assert kept.generation == 0, "what is in flight is kept with what was cut, and not played"
    rig.tell(BargeInConfirmed(1, (HeardItem("item_1", 0, 420),)))
    speaking.speaks("resp_1", LOUD)
    assert [type(told) for told in rig.told("pacer")] == [AnswerOwed], "and not what came late"
    speaking.ends("resp_1", "cancelled")
    (truncate,) = speaking.sent()
    assert (truncate["item_id"], truncate["audio_end_ms"]) == ("item_1", 420)
    report = speaking.report()
    assert report.conversation.dropped_cancelled_bytes == 160
    assert [(c.barge_in, c.settlement) for c in report.cancels] == [(1, Settlement.DONE)]


def test_a_cough_makes_the_model_finish_what_it_said(rig: Rig, speaking: Model) -> None:
    rig.tell(Interrupted(1, 1, "resp_1"), BargeInDismissed())
    speaking.ends("resp_1", "cancelled")
    cancel, create = speaking.sent()
    assert (cancel["type"], create["type"]) == ("response.cancel", "response.create")
    assert "Continue" in create["response"]["instructions"]


def test_a_model_that_hears_the_caller_is_evidence_for_the_pacer(rig: Rig, model: Model) -> None:
    model.says("input_audio_buffer.speech_started", item_id="item_9", audio_start_ms=10)
    assert rig.told("pacer") == [ModelHeardSpeech()]


def test_an_answer_that_does_not_come_is_asked_for(rig: Rig, model: Model) -> None:
    model.says("input_audio_buffer.committed", item_id="item_9")
    rig.run(until=1.4)
    assert model.sent() == []
    rig.run(until=1.6)
    (create,) = model.sent()
    assert create["type"] == "response.create"


def test_what_was_said_goes_to_the_host(rig: Rig, model: Model) -> None:
    kind = "conversation.item.input_audio_transcription.completed"
    model.says(kind, item_id="item_9", content_index=0, transcript="Hello?")
    place = {"response_id": "resp_1", "item_id": "item_1", "content_index": 0}
    model.says("response.output_audio_transcript.done", **place, transcript="Good morning.")
    assert rig.told_to_all() == {
        "host_calls": [CallerSaid("item_9", "Hello?"), AgentSaid("item_1", "Good morning.")],
        "supervisor": [CallerSaid("item_9", "Hello?")],
    }


# ---- tools


def test_a_tool_is_run_once_and_its_result_answered(rig: Rig, model: Model) -> None:
    model.begins("resp_1")
    call = {"call_id": "call_1", "name": "weather", "arguments": '{"city":"Oslo"}'}
    place = {"response_id": "resp_1", "item_id": "item_f", "output_index": 0}
    item = {"id": "item_f", "type": "function_call", "status": "completed", **call}
    model.says("response.function_call_arguments.done", **place, **call)
    model.says("response.output_item.done", response_id="resp_1", output_index=0, item=item)
    model.ends("resp_1", output=[item])
    assert rig.told("host_calls") == [ToolCalled("call_1", "weather", '{"city":"Oslo"}')]
    rig.tell(ToolReturned("call_1", '{"sun": true}'))
    output, create = model.sent()
    assert output["item"]["call_id"] == "call_1"
    assert output["item"]["output"] == '{"sun": true}'
    assert create["type"] == "response.create"
    rig.tell(ToolReturned("call_1", '{"sun": false}'))
    assert model.sent() == []
    assert model.report().tools.tool_results_late == 1


def test_a_tool_that_does_not_return_is_answered_for(rig: Rig, model: Model) -> None:
    call = {"call_id": "call_1", "name": "weather", "arguments": "{}"}
    place = {"response_id": "resp_1", "item_id": "item_f", "output_index": 0}
    model.says("response.function_call_arguments.done", **place, **call)
    rig.run(until=16.0)
    output, _ = model.sent()
    assert "error" in json.loads(output["item"]["output"])


# ---- what cannot be understood


@pytest.mark.parametrize(
    ("message", "counter"),
    [
        ('{"type":"response.hologram","secret":"' + SECRET + '"}', "unknown_events"),
        ('{"type":"response.audio.delta","delta":"' + SECRET + '"}', "unknown_events"),
        ("{" + SECRET, "malformed_events"),
        ('{"type":"response.done"}', "malformed_events"),
        (
            '{"type":"response.output_audio.delta","response_id":"r","item_id":"i",'
            '"content_index":0,"delta":"' + SECRET + '"}',
            "malformed_events",
        ),
        (b"\xff\xfe" + SECRET.encode(), "malformed_events"),
        ("[]", "malformed_events"),
        ("", "malformed_events"),
    ],
)
def test_what_is_not_understood_is_counted_and_logged_without_its_content(
    rig: Rig, model: Model, message: str | bytes, counter: str
) -> None:
    rig.tell(ModelMessage(message))
    got = model.report().conversation
    counted = {"unknown_events": got.unknown_events, "malformed_events": got.malformed_events}
    assert counted == {**dict.fromkeys(counted, 0), counter: 1}
    ((level, text, _),) = rig.logged()
    assert (level, text) == ("WARNING", "model event not understood")
    assert SECRET not in str(rig.logged()) + str(rig.records)
    rig.tell(CallerFrame(LOUD))
    assert len(model.sent()) == 1, "the call goes on"


def test_what_is_not_understood_is_logged_once_of_each_kind(rig: Rig, model: Model) -> None:
    """C-A 70, 72: a newer server, or a hostile one, cannot flood the log."""
    unknown = '{"type":"response.hologram"}'
    rig.tell(*[ModelMessage(unknown) for _ in range(50)])
    rig.tell(*[ModelMessage("not json") for _ in range(50)])
    assert len(rig.logged()) == 2
    rig.tell(*[ModelMessage(json.dumps({"type": f"t{n}"})) for _ in "xx" for n in range(1000)])
    assert len(rig.logged()) == MAX_KINDS_LOGGED
    got = model.report().conversation
    assert (got.unknown_events, got.malformed_events) == (2050, 50)


def test_an_error_is_counted_by_its_code(model: Model) -> None:
    error = {"type": "invalid_request_error", "code": "odd", "message": SECRET}
    model.says("error", error=error)
    assert model.report().conversation.errors == {"odd": 1}


def test_a_fatal_error_ends_the_call(rig: Rig, model: Model) -> None:
    error = {"type": "invalid_request_error", "code": "insufficient_quota", "message": SECRET}
    model.says("error", error=error)
    (ending,) = rig.told("supervisor")
    assert ending.cause is EndCause.MODEL_REFUSED
    assert SECRET not in ending.detail


# ---- watchdog and report


def test_a_model_that_does_not_hear_the_caller_is_asked_whether_it_is_there(
    rig: Rig, model: Model
) -> None:
    rig.tell(CallerSpoke(1))
    rig.run(until=1.4)
    assert model.sent() == []
    rig.run(until=1.6)
    (probe,) = model.sent()
    assert (probe["type"], probe["session"]) == ("session.update", {"type": "realtime"})
    asked = rig.told("watchdog")[-1]
    assert (asked.owner, asked.state) == (Owner.MODEL, "asked")
    rig.tell(ModelAlive())
    assert rig.told("watchdog") == [], "a pong answers nothing"
    model.says("error", error={"type": "x", "message": "what?"})
    assert [(told.state, told.version) for told in rig.told("watchdog")] == [
        ("open", asked.version + 1)
    ]


def test_a_reset_during_a_cancel_is_refused(rig: Rig, speaking: Model) -> None:
    rig.tell(Interrupted(1, 1, "resp_1"))
    version = rig.told("watchdog")[-1].version
    rig.tell(ResetRequest(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, version))
    assert rig.told("watchdog") == [
        ResetRefused(Owner.RESPONSE, ResetReason.STUCK_RESPONSE, Refusal.CANCEL_PENDING)
    ]
    assert len(speaking.sent()) == 1


def test_a_cancel_nobody_answers_is_over_at_its_deadline(rig: Rig, speaking: Model) -> None:
    rig.tell(Interrupted(1, 1, "resp_1"))
    rig.run(until=3.0)
    (cancel,) = speaking.report().cancels
    assert cancel.settlement is Settlement.DEADLINE


def test_a_ping_that_was_answered_is_a_sign_of_life(rig: Rig, model: Model) -> None:
    rig.run(until=10.0)
    rig.tell(ModelAlive())
    (alive,) = rig.told("watchdog")
    assert (alive.owner, alive.state) == (Owner.MODEL, "open")
    assert model.sent() == []


def test_a_call_that_never_began_reports_nothing(rig: Rig) -> None:
    Model(rig, Agent())
    rig.tell(ReportRequest())
    assert rig.told("supervisor") == [Report("RealtimeBridge", BridgeReport())]
