from __future__ import annotations

import re
from base64 import b64decode
from itertools import pairwise

import pytest

from callengine.audio.g711 import SILENCE_FRAME
from callengine.testing.caller.caller import SimulatedCaller
from callengine.testing.caller.record import ClosedBy
from callengine.testing.caller.script import Dial, Say, SkipTime, StopFrames, Wait
from callengine.testing.caller.stream import ABSENT, StreamFacts
from callengine.testing.peer import Close
from tests.testing.caller.rig import OPENED_AT, Call, speech


def test_a_stream_opens_with_connected_then_start_in_twilios_shapes() -> None:
    call = Call(Wait(1), stream=StreamFacts(custom_parameters={"token": "é"}))
    sid, record = call.record.stream_sid, call.record
    assert call.messages() == [
        {"event": "connected", "protocol": "Call", "version": "1.0.0"},
        {
            "event": "start",
            "sequenceNumber": "1",
            "streamSid": sid,
            "start": {
                "accountSid": record.account_sid,
                "callSid": record.call_sid,
                "streamSid": sid,
                "tracks": ["inbound"],
                "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
                "customParameters": {"token": "é"},
            },
        },
    ]
    assert record.opened_at == OPENED_AT


def test_ids_have_twilios_form_and_come_from_the_seed() -> None:
    one, again, other = (SimulatedCaller([], seed=seed).record for seed in (1, 1, 2))
    ids = [one.account_sid, one.call_sid, one.stream_sid]
    assert [bool(re.fullmatch("(AC|CA|MZ)[0-9a-f]{32}", sid)) for sid in ids] == [True] * 3
    assert [sid[:2] for sid in ids] == ["AC", "CA", "MZ"]
    assert one.stream_sid == again.stream_sid
    assert one.stream_sid != other.stream_sid


def test_ids_can_be_given() -> None:
    facts = StreamFacts(account_sid="AC1", call_sid="CA1", stream_sid="MZ1")
    call = Call(Wait(0.1), stream=facts).run_to(1)
    assert call.messages("start")[0]["start"]["accountSid"] == "AC1"
    assert call.messages("stop")[0] | {"sequenceNumber": "x"} == {
        "event": "stop",
        "sequenceNumber": "x",
        "streamSid": "MZ1",
        "stop": {"accountSid": "AC1", "callSid": "CA1"},
    }


def test_silence_leaves_in_160_byte_frames_every_20_ms_of_an_absolute_grid() -> None:
    call = Call(Wait(10)).run_to(2)
    assert call.times("media") == [round(0.02 * n, 6) for n in range(1, 101)]
    bodies = [message["media"] for message in call.messages("media")]
    assert {body["track"] for body in bodies} == {"inbound"}
    assert all(b64decode(body["payload"]) == SILENCE_FRAME for body in bodies)
    assert call.record.inbound_frames_sent == 100


def test_numbers_are_strings_and_all_messages_share_one_sequence() -> None:
    call = Call(Wait(0.03), Dial("5"), Wait(1)).run_to(0.09)
    numbered = call.messages()[1:]
    assert [message["sequenceNumber"] for message in numbered] == ["1", "2", "3", "4", "5", "6"]
    assert [message["event"] for message in numbered[1:4]] == ["media", "dtmf", "media"]
    assert [message["media"]["chunk"] for message in call.messages("media")] == [*"1234"]
    assert all(isinstance(m["media"]["timestamp"], str) for m in call.messages("media"))


@pytest.mark.parametrize("seed", range(5))
def test_timestamps_start_past_zero_and_step_19_97_ms_on_average(seed: int) -> None:
    call = Call(Wait(30), seed=seed).run_to(20)
    stamps = [int(message["media"]["timestamp"]) for message in call.messages("media")]
    assert 102 <= stamps[0] <= 171
    assert {after - before for before, after in pairwise(stamps)} == {19, 20}
    assert stamps[-1] - stamps[0] == round(999 * 19.97)


def test_a_late_wake_up_sends_all_that_was_due_and_does_not_shift_the_grid() -> None:
    call = Call(Wait(10)).run_to(0.02).wake_late(0.075).run_to(0.1)
    assert call.times("media") == [0.02, 0.075, 0.075, 0.08, 0.1]


def test_what_is_said_starts_at_a_frame_boundary_and_its_tail_is_padded() -> None:
    clip = speech(50)
    call = Call(Wait(0.03), Say(clip, "hello"), Wait(1)).run_to(0.2)
    frames = [b64decode(message["media"]["payload"]) for message in call.messages("media")]
    assert b"".join(frames[:5]) == SILENCE_FRAME + clip + b"\xff" * 80 + SILENCE_FRAME
    said = call.record.said[0]
    assert (said.label, said.kind, said.clip) == ("hello", "say", clip)
    assert said.onset_at == pytest.approx(OPENED_AT + 0.04)
    assert said.end_at == pytest.approx(OPENED_AT + 0.09)


def test_clips_in_succession_leave_no_frame_of_silence_between_them() -> None:
    one, two = speech(40), speech(40, first=100)
    call = Call(Say(one), Say(b""), Say(two), Wait(1)).run_to(0.2)
    frames = [b64decode(message["media"]["payload"]) for message in call.messages("media")]
    assert b"".join(frames).rstrip(b"\xff") == one + two
    assert [said.clip for said in call.record.said] == [one, two]


def test_the_onset_is_when_the_frame_really_left() -> None:
    call = Call(Say(speech(20)), Wait(1)).wake_late(0.025)
    assert call.record.said[0].onset_at == pytest.approx(OPENED_AT + 0.025)


def test_stopped_frames_leave_a_jump_in_the_timestamps_but_none_in_the_counters() -> None:
    call = Call(Wait(0.05), StopFrames(0.2), Wait(1)).run_to(0.3)
    assert call.times("media") == [0.02, 0.04, 0.26, 0.28, 0.3]
    bodies = [message["media"] for message in call.messages("media")]
    stamps = [int(body["timestamp"]) for body in bodies]
    assert stamps[2] - stamps[1] == pytest.approx(220, abs=1)
    assert [body["chunk"] for body in bodies] == [*"12345"]


def test_time_can_be_skipped_without_real_time() -> None:
    call = Call(Wait(0.05), SkipTime(5000), Wait(1)).run_to(0.1)
    stamps = [int(message["media"]["timestamp"]) for message in call.messages("media")]
    assert call.times("media")[:4] == [0.02, 0.04, 0.06, 0.08]
    assert stamps[2] - stamps[1] == pytest.approx(5020, abs=1)


def test_start_overrides_are_merged_replaced_and_removed() -> None:
    overrides = {
        "mediaFormat": {"sampleRate": 16000},
        "tracks": ["inbound", "outbound"],
        "customParameters": ABSENT,
        "callSid": ABSENT,
    }
    start = Call(Wait(1), start_overrides=overrides).messages("start")[0]["start"]
    expected = {"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}
    assert start["mediaFormat"] == expected
    assert start["tracks"] == ["inbound", "outbound"]
    assert {"customParameters", "callSid"}.isdisjoint(start)


def test_anything_can_be_sent_before_start() -> None:
    call = Call(Wait(1), before_start=['{"event":"media"}', b"\x00"])
    assert [text for _, text in call.sent[1:3]] == ['{"event":"media"}', b"\x00"]
    assert [message["event"] for message in call.messages()] == ["connected", "media", "start"]


def test_connected_can_be_left_out() -> None:
    call = Call(Wait(1), stream=StreamFacts(sends_connected=False))
    assert [message["event"] for message in call.messages()] == ["start"]


def test_start_can_be_held_back_and_the_script_with_it() -> None:
    call = Call(Wait(0.1), start_delay_s=10.0).run_to(9.9)
    assert [message["event"] for message in call.messages()] == ["connected"]
    call.run_to(11)
    assert call.times("start") == [10.0]
    assert call.times("media")[0] == 10.02
    assert call.times("stop") == [10.1]


@pytest.mark.edge_case(25)
def test_nothing_is_accepted_before_start() -> None:
    call = Call(Wait(1), start_delay_s=5.0)
    call.media(speech(20))
    call.receive(b"\x00")
    assert [violation.code for violation in call.record.violations] == [31951, 31950]
    assert call.record.frames == []


def test_the_engine_closing_ends_the_call() -> None:
    call = Call(Say(speech(1000), "long"), Wait(10)).run_to(0.1)
    call.media(speech(200))
    call.run_to(0.15)
    call.close(1011, "broken")
    assert call.record.closed == ClosedBy(1011, "broken", "engine", OPENED_AT + 0.15)
    assert call.caller.next_deadline() is None
    assert call.record.unheard_bytes == 150 * 8
    assert call.record.said[0].clip == speech(1000)[: 7 * 160]
    sent = len(call.sent)
    call.run_to(5)
    call.media(speech(20))
    call.close(1006)
    assert len(call.sent) == sent
    assert len(call.record.frames) == 1
    assert call.record.closed.code == 1011


def test_audio_sounds_until_the_moment_of_the_close() -> None:
    call = Call(Wait(10)).run_to(1)
    call.media(speech(200))
    call.let_pass(1.1).close(1006)
    assert call.heard() == [(1.0, speech(100))]


def test_a_call_can_end_before_it_started() -> None:
    caller = SimulatedCaller([Wait(1)])
    assert caller.next_deadline() is None
    call = Call(Wait(1), start_delay_s=9.0).run_to(1)
    call.close(1008, "no start")
    call.run_to(20)
    assert call.record.closed == ClosedBy(1008, "no start", "engine", OPENED_AT + 1)
    assert [message["event"] for message in call.messages()] == ["connected"]


def test_at_the_end_of_the_script_the_caller_hangs_up() -> None:
    call = Call(Wait(0.1)).run_to(1)
    assert call.messages()[-1]["event"] == "stop"
    assert call.closes() == [Close(1000)]
    assert call.times("stop") == [0.1]
    assert call.record.closed is not None
    assert (call.record.closed.by, call.record.closed.at) == ("caller", OPENED_AT + 0.1)
    assert call.times("media")[-1] == 0.08


def test_the_same_seed_and_events_give_the_same_bytes() -> None:
    def run() -> list[object]:
        call = Call(Wait(0.5), Say(speech(100)), Wait(0.2), seed=9).run_to(0.3)
        call.media(speech(60))
        call.mark("m")
        return [*call.run_to(2).sent]

    assert run() == run()
