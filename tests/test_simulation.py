"""Whole calls on virtual time: the laws hold whatever the latencies, the manners and the faults."""

from __future__ import annotations

import dataclasses
import math
import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import pykka
import pytest

from callengine import Agent, EndCause, Settings, Tool, VadConfig
from callengine.audio import g711
from callengine.machines.onsets import Outcome
from callengine.machines.response_terms import CONTINUE, Settlement
from callengine.testing import (
    BargeIn,
    Behaviour,
    DropSocket,
    Ending,
    HangUp,
    Reply,
    Say,
    SimulatedCaller,
    SimulatedRealtime,
    Simulation,
    SkipTime,
    StopFrames,
    ToolCall,
    Wait,
    WaitUntilHeard,
    WaitUntilQuiet,
    laws,
)
from callengine.testing.held import Held, hold, noise, reply
from callengine.testing.realtime import faults
from callengine.testing.realtime.record import CancelOutcome
from callengine.testing.simulation import Line
from callengine.testing.speech import clip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.testing.caller.script import Step

LATENCIES = [0.0, 0.005, 0.06, 0.15]
QUESTION = clip("caller_question_1")
STOP = clip("caller_barge_in_2")
DEAF = VadConfig(threshold=1.0)
"""The model's VAD does not hear `COUGH`, which is below an RMS of 1000; ours does."""


def tone(duration_ms: int, amplitude: int) -> bytes:
    samples = [round(amplitude * math.sin(0.7 * n)) for n in range(8 * duration_ms)]
    return g711.from_pcm16(struct.pack(f"{len(samples)}h", *samples))


COUGH = tone(160, 1_100)
NO_VOICE = 500 < g711.rms(COUGH) < 1_000
assert NO_VOICE, "the cough must be loud to us and nothing to the model"


def call(
    script: Sequence[Step],
    replies: Sequence[Reply],
    *,
    agent: Agent | None = None,
    behaviour: Behaviour | None = None,
    broken: Sequence[faults.Fault] = (),
    settings: Settings | None = None,
    seed: int = 0,
    latency_s: float = 0.005,
    mark_echo_delay_s: float = 0.0,
) -> Held:
    """Hold a call."""
    caller = SimulatedCaller(script, seed=seed, mark_echo_delay_s=mark_echo_delay_s)
    model = SimulatedRealtime(replies, behaviour=behaviour, faults=broken, seed=seed)
    simulation = Simulation(
        caller, model, agent or Agent(), settings or Settings(), seed=seed, latency_s=latency_s
    )
    return hold(simulation)


def check(held: Held, *but: object) -> None:
    """All laws, `but` those that cannot hold in this call."""
    for law in laws.ALWAYS:
        if law not in but:
            law(held)


# ---- order


@pytest.mark.parametrize("order", range(4))
def test_the_order_in_which_actors_have_their_turn_decides_nothing(order: int) -> None:
    script = [
        BargeIn(STOP, 0.5),
        WaitUntilQuiet(1.0, 20.0),
        Say(QUESTION),
        BargeIn(STOP, 1.0),
        WaitUntilQuiet(1.0, 20.0),
    ]
    replies = [reply(2.0, n) for n in range(4)]
    behaviour = Behaviour(latency_s=0.02)
    model = SimulatedRealtime(replies, behaviour=behaviour, seed=5)
    held = hold(Simulation(SimulatedCaller(script, seed=5), model, seed=order, latency_s=0.01))
    check(held)
    outcomes = [entry.outcome for entry in held.summary.barge_ins]
    assert outcomes.count(Outcome.ACTED) == 1
    assert outcomes[0] is Outcome.GUARDED
    assert len(held.caller.clears) == 1


# ---- replies that nobody interrupts


@pytest.mark.edge_case(35, 47)
@pytest.mark.parametrize("pace", [1.5, 6.0, 60.0])
@pytest.mark.parametrize("latency_s", [0.0, 0.15])
@pytest.mark.parametrize("delta_bytes", [(160,), (1, 159, 160, 161, 1000, 4133), (4133,)], ids=str)
def test_a_reply_is_heard_in_one_piece(
    pace: float, latency_s: float, delta_bytes: tuple[int, ...]
) -> None:
    behaviour = Behaviour(pace=pace, delta_bytes=delta_bytes)
    held = call(
        [WaitUntilQuiet(0.5, 20.0), Say(QUESTION), WaitUntilQuiet(1.0, 20.0)],
        [reply(3.017, 1), reply(2.0, 2, second_item_s=1.0)],
        behaviour=behaviour,
        latency_s=latency_s,
    )
    check(held)
    laws.replies_have_no_gaps(held)
    first, second = held.model.responses
    assert {first.id, second.id} == {r.id for r in held.uninterrupted}
    assert held.summary.tx_late_frames == held.summary.tx_schedule_resets == 0
    assert held.summary.first_chunk_bytes == 160


@pytest.mark.edge_case(47)
@pytest.mark.parametrize("delta_bytes", [(160,), (4133,), (1, 159, 160, 161, 1000, 4133)], ids=str)
def test_a_model_no_faster_than_speech_leaves_gaps_of_less_than_a_frame(
    delta_bytes: tuple[int, ...],
) -> None:
    """At pace 1 audio comes when it is due; a frame whose end has not come cannot leave yet."""
    behaviour = Behaviour(pace=1.0, delta_bytes=delta_bytes)
    held = call([WaitUntilQuiet(0.5, 20.0)], [reply(4.0, 1)], behaviour=behaviour)
    check(held)
    spans = held.caller.heard
    gaps = [after.at - before.until for before, after in pairwise(spans)]
    assert sum(gaps) < 2 * g711.FRAME_S


@pytest.mark.parametrize("seconds", [0.0001, 0.0199, 0.02, 0.0201, 0.3])
def test_the_shortest_of_replies_is_heard(seconds: float) -> None:
    held = call([WaitUntilQuiet(0.5, 20.0)], [reply(seconds, 1)])
    check(held)
    assert len(held.caller.frames) == math.ceil(seconds / 0.02)


# ---- interruptions


@pytest.mark.parametrize("latency_s", LATENCIES)
def test_the_greeting_is_heard_to_its_end_and_what_was_said_in_it_is_answered(
    latency_s: float,
) -> None:
    held = call(
        [BargeIn(QUESTION, 0.5), WaitUntilQuiet(2.5, 20.0)],
        [reply(5.0, 1), reply(2.0, 2)],
        behaviour=Behaviour(pace=1.5),  # it is still being generated: the server could cancel it
        latency_s=latency_s,
    )
    check(held)
    greeting, answer = held.model.responses
    assert held.was_heard(greeting)
    assert held.was_heard(answer)
    assert held.caller.clears == []
    assert not held.model.cancels
    assert not held.model.truncates
    assert Outcome.GUARDED in {entry.outcome for entry in held.summary.barge_ins}


@pytest.mark.parametrize("latency_s", LATENCIES)
def test_the_model_is_not_let_interrupt_before_the_greeting_was_heard(latency_s: float) -> None:
    held = call([WaitUntilQuiet(1.0, 20.0)], [reply(3.0, 1)], latency_s=latency_s)
    updates = [e for e in held.model.received if e.type == "session.update"]
    interrupts = [
        (event.at, event.body["session"]["audio"]["input"]["turn_detection"]["interrupt_response"])
        for event in updates
    ]
    assert [value for _, value in interrupts] == [False, True]
    heard_until = held.caller.heard[-1].until
    assert interrupts[1][0] == pytest.approx(heard_until, abs=0.02 + 2 * latency_s)


@pytest.mark.edge_case(77)
@pytest.mark.parametrize("latency_s", LATENCIES)
def test_a_caller_is_not_talked_over_although_the_model_is_done(latency_s: float) -> None:
    held = call(
        [WaitUntilQuiet(0.5, 20.0), Say(QUESTION), BargeIn(STOP, 3.0), WaitUntilQuiet(2.0, 20.0)],
        [reply(1.0, 1), reply(6.0, 2), reply(1.5, 3)],
        behaviour=Behaviour(latency_s=0.04),
        latency_s=latency_s,
    )
    check(held)
    (entry,) = held.interruptions
    response = held.model.responses[1]
    assert response.status == "completed"
    assert held.model.cancels == [], "there was nothing left to cancel"
    assert entry.response_id == response.id
    assert entry.cancel_sent_s is None
    assert [t.item_id for t in held.model.truncates] == [response.items[0].id]
    said = [said for said in held.caller.said if said.kind == "barge_in"]
    silence_s = held.caller.silence_after(said[0].onset_at)
    assert silence_s is not None
    assert silence_s <= 0.1 + 2 * latency_s + g711.FRAME_S + 0.08


@pytest.mark.edge_case(38, 78)
@pytest.mark.parametrize("races", [False, True])
@pytest.mark.parametrize("latency_s", LATENCIES)
def test_a_response_under_way_is_cancelled_by_its_id(latency_s: float, races: bool) -> None:
    held = call(
        [WaitUntilQuiet(0.5, 20.0), Say(QUESTION), BargeIn(STOP, 0.5), WaitUntilQuiet(2.0, 20.0)],
        [reply(1.0, 1), reply(9.0, 2), reply(1.5, 3)],
        behaviour=Behaviour(latency_s=0.08, pace=2.0, cancel_races_completion=races),
        settings=Settings(onset_frames=2),  # we are faster than the server: it is we who cancel
        latency_s=latency_s,
    )
    check(held)
    (entry,) = held.interruptions
    response = held.model.responses[1]
    assert [cancel.response_id for cancel in held.model.cancels] == [response.id]
    expected = CancelOutcome.NOT_ACTIVE if races else CancelOutcome.CANCELLED
    assert held.model.cancels[0].outcome is expected
    assert entry.cancel_settlement is Settlement.DONE, "done comes first, also in the race"


@pytest.mark.edge_case(79)
@pytest.mark.parametrize("latency_s", LATENCIES)
@pytest.mark.parametrize("mark_echo_delay_s", [0.0, 0.2])
def test_a_cough_is_taken_back_to_the_sample(latency_s: float, mark_echo_delay_s: float) -> None:
    held = call(
        [WaitUntilQuiet(0.5, 20.0), Say(QUESTION), BargeIn(COUGH, 2.0), WaitUntilQuiet(1.0, 20.0)],
        [reply(1.0, 1), reply(5.0, 2)],
        agent=Agent(vad=DEAF),
        latency_s=latency_s,
        mark_echo_delay_s=mark_echo_delay_s,
    )
    check(held)
    (entry,) = held.interruptions
    assert entry.outcome is Outcome.RESUMED
    response = held.model.responses[1]
    assert held.was_heard(response), "nothing lost or doubled"
    assert held.summary.audio.flushed_bytes == 0
    assert not held.model.cancels
    assert not held.model.truncates
    assert len(held.model.responses) == 2


@pytest.mark.parametrize("latency_s", [0.0, 0.06])
@pytest.mark.parametrize("deltas_in_flight", [0, 4])
@pytest.mark.parametrize("cancel_takes_s", [0.02, 1.2])
def test_a_cough_that_cut_the_model_short_loses_nothing_and_makes_it_go_on(
    cancel_takes_s: float, deltas_in_flight: int, latency_s: float
) -> None:
    """Also what was in flight is heard, whether it came before the cough was known for one."""
    held = call(
        [WaitUntilQuiet(0.5, 20.0), Say(QUESTION), BargeIn(COUGH, 0.5), WaitUntilQuiet(3.0, 20.0)],
        [reply(1.0, 1), reply(8.0, 2), reply(2.0, 3)],
        agent=Agent(vad=DEAF),
        behaviour=Behaviour(
            pace=2.0,
            delta_bytes=(1600,),
            deltas_in_flight=deltas_in_flight,
            cancel_takes_s=cancel_takes_s,
        ),
        latency_s=latency_s,
    )
    check(held)
    _, cut, rest = held.model.responses
    assert [cancel.response_id for cancel in held.model.cancels] == [cut.id]
    assert held.was_heard(cut)
    assert held.was_heard(rest)
    assert held.model.creates[-1].response["instructions"] == CONTINUE
    assert not held.model.truncates


def test_an_interruption_at_the_very_beginning_does_not_spoil_later_truncates() -> None:
    held = call(
        [BargeIn(STOP, 0.0), WaitUntilHeard(9.0), BargeIn(STOP, 1.0), WaitUntilQuiet(2.0, 20.0)],
        [reply(4.0, n) for n in range(4)],
        agent=Agent(greeting_protected=False),
        behaviour=Behaviour(first_audio_s=0.0, created_after_s=0.0),
        mark_echo_delay_s=0.2,
    )
    laws.truncates_tell_what_was_heard(held)


# ---- tools, and responses with nothing to hear


@pytest.mark.edge_case(49)
@pytest.mark.parametrize("latency_s", LATENCIES)
def test_a_tool_is_run_once_and_its_result_spoken(latency_s: float) -> None:
    asked: list[str] = []
    tool = Tool("hours", "", {"type": "object"}, lambda **given: asked.append(given["shop"]))
    held = call(
        [WaitUntilQuiet(0.5, 20.0), Say(QUESTION), WaitUntilQuiet(3.0, 20.0)],
        [
            reply(1.0, 1),
            reply(0.8, 2, ToolCall("hours", '{"shop":"north"}'), ToolCall("nobody")),
            reply(2.0, 3),
        ],
        agent=Agent(tools=(tool,)),
        latency_s=latency_s,
    )
    check(held)
    assert asked == ["north"]
    outputs = [output.output for output in held.model.function_outputs]
    assert outputs[0] == "null"
    assert "error" in outputs[1]
    assert len(held.model.responses) == 3
    assert held.summary.tools.tool_calls == 2


@pytest.mark.edge_case(50)
def test_an_interrupted_tool_call_is_not_run_and_a_finished_one_is_answered_once() -> None:
    held = call(
        [WaitUntilQuiet(0.5, 20.0), Say(QUESTION), BargeIn(STOP, 0.3), WaitUntilQuiet(3.0, 20.0)],
        [reply(1.0, 1), reply(5.0, 2, ToolCall("hours")), reply(2.0, 3)],
        agent=Agent(tools=(Tool("hours", "", {"type": "object"}, dict),)),
        behaviour=Behaviour(pace=1.5),
    )
    check(held)
    assert held.model.function_outputs == []
    assert held.summary.tools.tool_calls == 0


@pytest.mark.edge_case(44, 64)
@pytest.mark.parametrize(
    ("bad", "counted"),
    [
        (Reply(ending=Ending.SERVER_ERROR), {"failed_responses": 1}),
        (Reply(ending=Ending.RATE_LIMIT_EXCEEDED), {"failed_responses": 1}),
        (Reply(transcript="Words without a voice."), {"silent_responses": 1}),
        (Reply(), {"silent_responses": 1}),
        (Reply(ending=Ending.CONTENT_FILTER), {"silent_responses": 1}),
    ],
    ids=["failed", "rate limit", "silent", "empty", "filtered"],
)
@pytest.mark.parametrize("latency_s", [0.0, 0.15])
def test_a_response_with_nothing_to_hear_is_asked_for_again(
    bad: Reply, counted: dict[str, int], latency_s: float
) -> None:
    held = call(
        [WaitUntilQuiet(0.5, 20.0), Say(QUESTION), WaitUntilQuiet(3.0, 20.0)],
        [reply(1.0, 1), bad, reply(2.0, 3)],
        latency_s=latency_s,
    )
    check(held)
    got = dataclasses.asdict(held.summary.conversation)
    assert {name: got[name] for name in counted} == counted
    assert held.summary.response.retries == 1
    assert len(held.model.responses) == 3


@pytest.mark.edge_case(64)
def test_a_response_that_ends_early_is_heard_as_far_as_it_came() -> None:
    short = dataclasses.replace(reply(1.5, 2), ending=Ending.MAX_OUTPUT_TOKENS)
    held = call(
        [WaitUntilQuiet(0.5, 20.0), Say(QUESTION), WaitUntilQuiet(3.0, 20.0)],
        [reply(1.0, 1), short],
    )
    check(held)
    assert held.summary.response.retries == 0
    assert len(held.model.responses) == 2


# ---- faults of the model


def faulty(*broken: faults.Fault, script: Sequence[Step] = ()) -> Held:
    """A call with an ordinary course, if the faults let it."""
    steps = script or [WaitUntilQuiet(0.5, 10.0), Say(QUESTION), WaitUntilQuiet(3.0, 20.0)]
    held = call(
        steps,
        [reply(2.0, n) for n in range(6)],
        agent=Agent(farewell=noise(1.0, 77), fallback=b""),
        broken=broken,
    )
    laws.nothing_is_left(held)
    assert held.summary.audio.balance_bytes == 0
    assert {frame.size_bytes for frame in held.caller.frames} <= {160}
    assert held.caller.violations == []
    return held


def heard_bytes(held: Held) -> bytes:
    return b"".join(span.payload for span in held.caller.heard)


HARMLESS: list[tuple[faults.Fault, ...]] = [
    (faults.DelaySessionCreated(1.0),),
    (faults.DelaySessionCreated(None),),
    (faults.DelaySessionUpdated(2.0),),
    (faults.RefuseSessionUpdate(number=2),),
    (faults.NoCreated(2),),
    (faults.DuplicateEvents(1),),
    (faults.DuplicateEvents(2, ("response.done", "response.output_item.done")),),
    (faults.StallAudio(2, 500, 1.5),),
    (faults.FailResponse(2),),
    (faults.FailResponse(2, Ending.SERVER_ERROR, after_ms=700),),
    (faults.SendRaw(faults.After(1.0), "{nonsense"),),
    (faults.SendRaw(faults.After(1.0), b"\xff\xfe\x00"),),
    (faults.SendRaw(faults.AtAppend(30), '{"type":"response.hologram"}'),),
    (faults.SendRaw(faults.AtResponse(1, 500), faults.error_message("odd", "what?")),),
    (faults.RenameEvents((("rate_limits.updated", "rate_limits.changed"),)),),
]


@pytest.mark.parametrize("broken", HARMLESS, ids=lambda b: f"{type(b[0]).__name__}")
def test_a_call_survives(broken: tuple[faults.Fault, ...]) -> None:
    held = faulty(*broken)
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    laws.every_turn_is_answered(held)
    laws.nothing_is_heard_twice_or_left_out(held)
    laws.whole_replies_are_heard(held)
    laws.cancels_name_their_response_and_are_resolved(held)


FATAL: list[tuple[tuple[faults.Fault, ...], EndCause]] = [
    (faults.key_refused(), EndCause.MODEL_REFUSED),
    (faults.beta_shape_refused(), EndCause.MODEL_REFUSED),
    (faults.session_expired(faults.After(3.0)), EndCause.SESSION_EXPIRED),
    ((faults.RefuseSessionUpdate(),), EndCause.SESSION_REFUSED),
    ((faults.EchoOtherFormat(),), EndCause.SESSION_REFUSED),
    ((faults.DelaySessionUpdated(None),), EndCause.SESSION_REFUSED),
    ((faults.CloseSocket(faults.After(3.0)),), EndCause.MODEL_LOST),
    ((faults.CloseSocket(faults.AtResponse(1, 1000), abrupt=True),), EndCause.MODEL_LOST),
    ((faults.CloseSocket(faults.AtResponseDone(1)),), EndCause.MODEL_LOST),
]


@pytest.mark.parametrize(("broken", "cause"), FATAL, ids=range(len(FATAL)))
def test_a_call_whose_model_is_gone_ends_with_what_was_queued_and_a_farewell(
    broken: tuple[faults.Fault, ...], cause: EndCause
) -> None:
    held = faulty(*broken, script=[Wait(40.0)])
    assert held.summary.end_cause is cause
    assert held.caller.closed is not None
    assert held.caller.closed.by == "engine"
    assert held.caller.closed.code == 1000
    heard = heard_bytes(held)
    assert heard.endswith(noise(1.0, 77))
    told = held.model.responses[0].audio if held.model.responses else b""
    padded = told + b"\xff" * (-len(told) % 160)
    assert heard == padded + noise(1.0, 77), "all that came, and then the farewell"


def test_a_silence_in_which_nobody_has_anything_to_say_is_no_fault() -> None:
    held = faulty(script=[Wait(200.0), Say(QUESTION), WaitUntilQuiet(1.0, 10.0)])
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert held.summary.watchdog.resets_asked == 0
    check(held)


def test_a_response_that_stops_in_the_middle_is_recovered_from() -> None:
    script: list[Step] = [WaitUntilQuiet(0.5, 10.0), Say(QUESTION), Wait(30.0)]
    held = faulty(faults.StallAudio(2, 1_000, 60.0), script=script)
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert held.summary.stuck_recoveries == 1
    assert held.summary.watchdog.resets_granted == 1


# ---- faults of the carrier


@pytest.mark.edge_case(5, 29)
@pytest.mark.parametrize(
    ("last", "cause"),
    [
        (HangUp(), EndCause.CALLER_HUNG_UP),
        (DropSocket(), EndCause.CARRIER_LOST),
        (DropSocket(abrupt=False, code=1001), EndCause.CARRIER_LOST),
    ],
    ids=["hang up", "cut", "closed"],
)
@pytest.mark.parametrize("latency_s", [0.0, 0.15])
@pytest.mark.parametrize("heard_s", [0.0, 0.5])
def test_a_caller_who_goes_in_the_middle_of_a_word_ends_the_call(
    last: Step, cause: EndCause, latency_s: float, heard_s: float
) -> None:
    held = call([WaitUntilHeard(5.0), Wait(heard_s), last], [reply(4.0, 1)], latency_s=latency_s)
    assert held.summary.end_cause is cause
    check(
        held,
        laws.counters_agree,
        laws.whole_replies_are_heard,
        laws.a_protected_greeting_is_heard,
    )
    unknown = held.summary.tx_frames - len(held.caller.frames)
    assert 0 <= unknown <= 10 + 2 * latency_s / g711.FRAME_S
    assert held.model.closed is not None, "the model's socket is given back too"


@pytest.mark.edge_case(58)
def test_holes_in_the_stream_do_not_keep_the_caller_from_being_answered() -> None:
    held = call(
        [
            WaitUntilQuiet(0.5, 10.0),
            SkipTime(300),
            Say(QUESTION),
            StopFrames(6.0),
            SkipTime(-2_000),
            WaitUntilQuiet(3.0, 20.0),
        ],
        [reply(1.0, 1), reply(2.0, 2)],
    )
    check(held, laws.counters_agree)
    assert held.summary.end_cause is EndCause.CALLER_HUNG_UP
    assert held.summary.inbound.stalls == 1
    assert held.summary.inbound.filled_ms == pytest.approx(6_300, abs=200)
    answer = held.model.responses[1]
    assert answer.created_at is not None
    assert answer.created_at - held.caller.said[0].end_at < 2.0, "long before frames came again"


# ---- the simulation itself


def test_a_call_that_never_ends_is_ended() -> None:
    caller = SimulatedCaller([Wait(1_000.0)])
    model = SimulatedRealtime([reply(1.0, 1)])
    summary = Simulation(caller, model).run(limit_s=5.0)
    assert summary.end_cause is EndCause.SHUTDOWN
    assert caller.record.closed is not None
    assert caller.record.closed.code == 1001
    assert pykka.ActorRegistry.get_all() == []


def test_a_simulated_minute_takes_few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[float] = []
    wake = Line._wake

    def counted(line: Line, deadline: float) -> None:
        woken.append(deadline)
        wake(line, deadline)

    monkeypatch.setattr(Line, "_wake", counted)
    steps: list[Step] = [WaitUntilQuiet(0.5, 9.0), Say(QUESTION), BargeIn(STOP, 1.0), Wait(50.0)]
    held = call(steps, [reply(4.0, n) for n in range(5)], latency_s=0.06)
    seconds = held.summary.duration_s
    assert len(woken) < 100 * seconds, "a peer is woken for its frames, marks and deltas only"


def test_alarms_do_not_multiply_over_a_long_call() -> None:
    """L12: an actor waits for its next deadline, and for one that it gave up at the most."""
    turns = [step for _ in range(20) for step in (Say(QUESTION), WaitUntilQuiet(0.5, 20.0))]
    caller = SimulatedCaller([WaitUntilQuiet(0.5, 20.0), *turns])
    model = SimulatedRealtime([reply(1.0, n) for n in range(30)])
    simulation = Simulation(caller, model)
    waiting = []
    while simulation.summary is None and simulation.stepper.step():
        waiting.append(simulation.stepper.alarms)
    simulation.stepper.settle()
    assert max(waiting[len(waiting) // 2 :]) <= max(waiting[: len(waiting) // 4]) + 5
