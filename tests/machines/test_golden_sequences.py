"""Captured sequences of the Realtime API, through the decoder and the conversation."""

from __future__ import annotations

import pytest

from callengine.machines.conversation import MAX_TURN_S
from callengine.machines.conversation_terms import SendFunctionOutput
from callengine.machines.response import RETRY_DELAY_S, Purpose, SendCancel, SendCreate, State
from callengine.machines.unheard import SendTruncate
from callengine.messages import (
    AgentSaid,
    AudioComplete,
    BargeInConfirmed,
    CallerSaid,
    CallerSpoke,
    HeardItem,
    Interrupted,
    ModelHeardSpeech,
    PlayAudio,
    ResponseHeard,
    ToolCalled,
    ToolReturned,
)
from callengine.wire import realtime_events as wire
from callengine.wire import realtime_server
from tests.machines.conversation_rig import Rig, done, function_call, golden, only

R1 = "resp_sim0001"
ITEM = "item_sim_a1"


@pytest.mark.edge_case(35)
def test_a_turn_that_is_completed() -> None:
    """C-A 35."""
    rig = Rig()
    rig.live()
    actions = [
        a for _, frame in golden("turn_completed") for a in rig(realtime_server.decode(frame))
    ]
    assert [type(action) for action in actions] == [
        ModelHeardSpeech,
        PlayAudio,
        PlayAudio,
        PlayAudio,
        CallerSaid,
        AgentSaid,
        AudioComplete,
    ]
    plays = only(PlayAudio, actions)
    assert {(p.response_id, p.item_id, p.content_index, p.generation) for p in plays} == {
        (R1, ITEM, 0, 0)
    }
    assert sum(len(p.audio) for p in plays) == rig.machine.counts.audio_bytes
    assert only(CallerSaid, actions) == [CallerSaid("item_sim_u1", "I would like to book a visit.")]
    assert only(AgentSaid, actions) == [AgentSaid(ITEM, "Good morning, how can I help?")]
    assert rig.machine.counts.unknown_events == rig.machine.counts.malformed_events == 0
    assert rig.machine.counts.input_tokens > 0
    assert rig(ResponseHeard(R1)) == []
    assert rig.after(60.0) == []


@pytest.mark.edge_case(36)
def test_a_barge_in_the_server_hears_too() -> None:
    """C-A 36: the server cancels by itself, deltas in flight come after our cancel."""
    rig = Rig()
    rig.live()
    actions = []
    spoken_over = False
    for direction, frame in golden("barge_in_server_vad"):
        if direction == "ai>us":
            heard_speech = only(ModelHeardSpeech, took := rig(realtime_server.decode(frame)))
            actions += took
            spoken_over |= bool(heard_speech) and bool(only(PlayAudio, actions))
        if '"clear"' in frame:
            actions += rig(Interrupted(1, 1, R1))
            actions += rig(BargeInConfirmed(1, (HeardItem(ITEM, 0, 110),)))
    assert spoken_over
    assert [type(action) for action in actions] == [
        ModelHeardSpeech,
        PlayAudio,
        ModelHeardSpeech,
        SendCancel,
        SendTruncate,
        AgentSaid,
        AudioComplete,
    ]
    assert only(SendTruncate, actions) == [SendTruncate(ITEM, 0, 110)]
    assert rig.machine.counts.dropped_cancelled_bytes == 800
    assert rig.machine.slot.state is State.IDLE
    assert rig.after(MAX_TURN_S - 0.1) == []


@pytest.mark.edge_case(36, 53)
def test_late_deltas_after_our_cancel() -> None:
    """C-A 36: nothing of that response is played after the interruption."""
    rig = Rig()
    rig.live()
    actions = []
    for direction, frame in golden("cancel_by_client_with_late_deltas"):
        if direction == "ai>us":
            actions += rig(realtime_server.decode(frame))
        else:
            actions += rig(Interrupted(1, 1, R1), BargeInConfirmed(1, (HeardItem(ITEM, 0, 60),)))
    rig(wire.SpeechStarted("u9", 0))  # later than ours, and not in the captured sequence
    assert [type(action) for action in actions] == [
        ModelHeardSpeech,
        PlayAudio,
        SendCancel,
        SendTruncate,
        AgentSaid,
        AudioComplete,
    ]
    assert only(SendCancel, actions)[0].response_id == R1
    assert rig.machine.counts.dropped_cancelled_bytes == 1600
    assert rig.after(MAX_TURN_S - 0.1) == []


@pytest.mark.edge_case(38)
def test_a_cancel_that_races_the_end_of_the_response() -> None:
    """C-A 38: no error surfaced, no double end."""
    rig = Rig()
    rig.live()
    actions = []
    for direction, frame in golden("cancel_races_completion"):
        if direction == "ai>us":
            actions += rig(realtime_server.decode(frame))
        else:
            actions += rig(Interrupted(1, 1, R1), BargeInConfirmed(1, (HeardItem(ITEM, 0, 60),)))
    rig(wire.SpeechStarted("u9", 0))  # later than ours, and not in the captured sequence
    assert [type(action) for action in actions] == [
        ModelHeardSpeech,
        PlayAudio,
        SendCancel,
        SendTruncate,
        AudioComplete,
    ]
    assert rig.machine.counts.errors == {"response_cancel_not_active": 1}
    assert rig.machine.slot.counts.unexpected_done == 0
    assert rig.after(MAX_TURN_S - 0.1) == []


@pytest.mark.edge_case(39)
def test_a_cancel_before_created() -> None:
    """C-A 39: we send none without an id, so the captured error is a stray one for us."""
    rig = Rig("Say hello.", protected=False)
    actions = rig.live()
    rig(CallerSpoke(1), wire.SpeechStarted("u9", 0))
    for direction, frame in golden("cancel_before_created"):
        if direction == "ai>us":
            ours = frame.replace("c-70", only(SendCreate, actions)[0].event_id)
            actions += rig(realtime_server.decode(ours))
    assert [type(a) for a in actions[1:]] == [SendCreate, SendCancel, AudioComplete]
    assert only(SendCancel, actions)[0].response_id == R1
    assert rig.machine.slot.state is State.IDLE
    assert rig.after(MAX_TURN_S - 0.1) == []


@pytest.mark.edge_case(41)
@pytest.mark.parametrize("named", [False, True])
def test_a_create_while_a_response_is_active(named: bool) -> None:
    """C-A 41: the running response is unaffected; ours comes once, after it."""
    rig = Rig()
    rig.live()
    frames = [frame for _, frame in golden("response_create_while_active")]
    create_at = next(i for i, frame in enumerate(frames) if '"response.create"' in frame)
    assert '"error"' in frames[create_at + 1]
    rig(function_call("c1", "r0"), ToolReturned("c1", "1"))  # this create crosses its response
    actions = [a for frame in frames[:create_at] for a in rig(realtime_server.decode(frame))]
    refusal = realtime_server.decode(frames[create_at + 1])
    assert isinstance(refusal, wire.ErrorReceived)
    assert refusal.code == "conversation_already_has_active_response"
    caused_by = "create-1" if named else None
    rig(wire.ErrorReceived(refusal.code, None, "", None, caused_by))
    actions += rig(realtime_server.decode(frames[create_at + 2]))
    assert len(only(PlayAudio, actions)) == 2
    assert only(SendCreate, actions) == []
    ending = rig(done(R1))
    assert [c.wanted.purpose for c in only(SendCreate, ending)] == [Purpose.TOOL_RESULT]


@pytest.mark.edge_case(50)
def test_a_function_call() -> None:
    """C-A 50: told three times, run once; then its result, then a create."""
    rig = Rig()
    rig.live()
    frames = [frame for direction, frame in golden("function_call") if direction == "ai>us"]
    actions = [a for frame in frames for a in rig(realtime_server.decode(frame))]
    assert actions == [
        ToolCalled("call_sim1", "book_slot", '{"day":"2026-12-01"}'),
        AudioComplete(R1),
    ]
    actions = rig(ToolReturned("call_sim1", '{"ok":true}'))
    assert [type(action) for action in actions] == [SendFunctionOutput, SendCreate]
    assert rig.machine.counts.silent_responses == 0


@pytest.mark.edge_case(44)
def test_a_transcript_without_audio() -> None:
    """C-A 44: detected as silent, counted, asked for once more."""
    rig = Rig()
    rig.live()
    actions = [
        a
        for _, frame in golden("transcript_only_no_audio")
        for a in rig(realtime_server.decode(frame))
    ]
    assert [type(a) for a in actions] == [ModelHeardSpeech, AgentSaid, AudioComplete]
    assert rig.machine.counts.silent_responses == 1
    again = only(SendCreate, rig.after(RETRY_DELAY_S))
    assert [create.wanted.purpose for create in again] == [Purpose.ANSWER]


@pytest.mark.edge_case(48)
def test_two_audio_items_in_one_response() -> None:
    """C-A 48, L3: the item being heard is cut there, the other one to nothing."""
    rig = Rig()
    rig.live()
    frames = [frame for _, frame in golden("two_audio_items_in_one_response")]
    actions = [a for frame in frames for a in rig(realtime_server.decode(frame))]
    assert [play.item_id for play in only(PlayAudio, actions)] == [ITEM, "item_sim_a2"]
    assert rig(Interrupted(1, 1, R1)) == []
    assert rig(BargeInConfirmed(1, (HeardItem(ITEM, 0, 40), HeardItem("item_sim_a2", 0, 0)))) == [
        SendTruncate(ITEM, 0, 40),
        SendTruncate("item_sim_a2", 0, 0),
    ]
