from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from callengine.testing.caller.faults import (
    DelayClearedEchoes,
    DelayEchoes,
    FrameSizes,
    LoseEchoes,
    NumberStyle,
    RenameEchoes,
    RepeatEchoes,
    WriteNumbers,
)
from callengine.testing.caller.script import (
    CountFrom,
    Dial,
    DropSocket,
    HangUp,
    HoldBack,
    LoseFrames,
    RepeatFrame,
    Say,
    StopFrames,
    SwapFrames,
    Wait,
)
from callengine.testing.peer import Close
from tests.testing.caller.rig import OPENED_AT, Call, speech

if TYPE_CHECKING:
    from callengine.testing.caller.faults import EchoFault


# ---- echoes


def listening(*faults: EchoFault, delay_s: float = 0.0) -> Call:
    """Four marks, 100 ms apart, of which the first is due at 1.1."""
    call = Call(StopFrames(10_000), faults=faults, mark_echo_delay_s=delay_s).run_to(1)
    for name in "abcd":
        call.media(speech(100))
        call.mark(name)
    return call


@pytest.mark.parametrize(
    ("fault", "echoes"),
    [
        (LoseEchoes(), []),
        (LoseEchoes(after=1), [(1.1, "a")]),
        (LoseEchoes(every=2), [(1.2, "b"), (1.4, "d")]),
        (LoseEchoes(after=2, every=9), [(1.1, "a"), (1.2, "b"), (1.4, "d")]),
        (DelayEchoes(0.5), [(1.6, "a"), (1.7, "b"), (1.8, "c"), (1.9, "d")]),
        (DelayEchoes(0.15, every=2), [(1.2, "b"), (1.25, "a"), (1.4, "d"), (1.45, "c")]),
        (
            RepeatEchoes(2, after=2),
            [(1.1, "a"), (1.2, "b"), *[(1.3, "c")] * 3, *[(1.4, "d")] * 3],
        ),
        (RenameEchoes("who", every=2), [(1.1, "who"), (1.2, "b"), (1.3, "who"), (1.4, "d")]),
        (RenameEchoes(after=3), [(1.1, "a"), (1.2, "b"), (1.3, "c"), (1.4, "")]),
        (DelayClearedEchoes(0.5), [(1.1, "a"), (1.2, "b"), (1.3, "c"), (1.4, "d")]),
    ],
    ids=str,
)
def test_echoes_are_lost_delayed_repeated_and_renamed(
    fault: EchoFault, echoes: list[tuple[float, str]]
) -> None:
    assert listening(fault).run_to(3).echoes() == echoes


def test_faults_of_the_same_echoes_add_up() -> None:
    call = listening(DelayEchoes(0.05), RepeatEchoes(every=4), LoseEchoes(after=1), delay_s=0.1)
    assert call.run_to(3).echoes() == [(1.25, "a"), (1.25, "a")]


def test_the_record_tells_of_an_echo_only_if_the_mark_came_back_under_its_name() -> None:
    call = listening(LoseEchoes(every=4), RenameEchoes("x", after=1, every=4)).run_to(3)
    at = [mark.echoed_at for mark in call.record.marks]
    assert at[:2] == [None, None]
    assert at[2:] == pytest.approx([OPENED_AT + 1.3, OPENED_AT + 1.4])


@pytest.mark.parametrize(
    ("fault", "echoes"),
    [
        (DelayClearedEchoes(0.3), [(1.1, "a"), (1.45, "b"), (1.45, "c"), (1.45, "d")]),
        (LoseEchoes(after=2), [(1.1, "a"), (1.15, "b")]),
        (DelayEchoes(0.5), [(1.6, "a"), (1.65, "b"), (1.65, "c"), (1.65, "d")]),
    ],
    ids=str,
)
def test_what_a_clear_brings_forth_obeys_the_faults(
    fault: EchoFault, echoes: list[tuple[float, str]]
) -> None:
    call = listening(fault).run_to(1.15)
    call.clear()
    call.run_to(3)
    assert call.echoes() == echoes
    assert [mark.cleared for mark in call.record.marks] == [
        mark.echoed_at is not None and mark.name != "a" for mark in call.record.marks
    ]


# ---- frames


def payloads(call: Call) -> list[bytes]:
    return [b64decode(message["media"]["payload"]) for message in call.messages("media")]


def stamps(call: Call) -> list[int]:
    return [int(message["media"]["timestamp"]) for message in call.messages("media")]


def numbers(call: Call) -> list[str]:
    return [message["sequenceNumber"] for message in call.messages("media")]


@pytest.mark.parametrize("sizes", [(160,), (80,), (320,), (1,), (37,), (0, 160), (1, 0, 37, 400)])
def test_frames_of_any_size_bring_the_same_audio_at_its_time(sizes: tuple[int, ...]) -> None:
    call = Call(Say(speech(400)), Wait(1), faults=[FrameSizes(sizes)]).run_to(0.5)
    sent = payloads(call)
    assert b"".join(sent).startswith(speech(400))
    assert {len(payload) for payload in sent} == set(sizes)
    assert [len(payload) for payload in sent[: len(sizes)]] == list(sizes)
    assert call.record.inbound_frames_sent == len(sent)
    position, at_ms = 0, stamps(call)
    for payload, stamp, at in zip(sent, at_ms, call.times("media"), strict=True):
        assert stamp - at_ms[0] == pytest.approx(position / 8 * 19.97 / 20, abs=1.01)
        position += len(payload)
        assert 0 <= at - position / 8000 < 0.0201, "it leaves when the last of it was said"


def test_a_message_of_an_odd_size_has_the_time_of_its_audio_also_after_a_pause() -> None:
    call = Call(Wait(0.05), StopFrames(0.2), Wait(1), faults=[FrameSizes((320,))]).run_to(0.4)
    assert call.times("media") == [0.04, 0.28, 0.32, 0.36, 0.4]
    assert stamps(call)[1] - stamps(call)[0] == pytest.approx(240, abs=1)


@pytest.mark.parametrize("sizes", [(), (0,), (0, 0), (160, -1)])
def test_sizes_that_bring_no_audio_are_refused(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="sizes_bytes"):
        FrameSizes(sizes)


@pytest.mark.parametrize(
    ("style", "sequence"),
    [(NumberStyle.INTEGERS, 3), (NumberStyle.WORDS, "no. 3"), (NumberStyle.MISSING, None)],
)
def test_numbers_in_other_styles(style: NumberStyle, sequence: object) -> None:
    call = Call(Wait(0.03), Dial("5"), Wait(1), faults=[WriteNumbers(style)]).run_to(0.04)
    _, start, media, dtmf, _ = call.messages()
    assert [message.get("sequenceNumber") for message in (start, media, dtmf)][2] == sequence
    kinds = {type(media["media"].get(name)) for name in ("chunk", "timestamp")}
    assert kinds == {type(sequence)}
    assert "payload" in media["media"]


def test_lost_frames_leave_a_hole_in_numbers_and_time() -> None:
    call = Call(Wait(0.05), LoseFrames(3), Wait(1)).run_to(0.2)
    assert call.times("media") == [0.02, 0.04, 0.12, 0.14, 0.16, 0.18, 0.2]
    assert numbers(call)[:3] == ["2", "3", "7"]
    assert stamps(call)[2] - stamps(call)[1] == pytest.approx(80, abs=1)
    assert call.record.inbound_frames_sent == 7


def test_a_repeated_frame_is_the_same_message() -> None:
    call = Call(Wait(0.05), RepeatFrame(2), Wait(1)).run_to(0.1)
    assert numbers(call) == ["2", "3", "4", "4", "4", "5", "6"]
    sent = call.messages("media")
    assert sent[2] == sent[3] == sent[4]
    assert call.times("media")[2:5] == [0.06] * 3


def test_swapped_frames_leave_together_in_reverse_order() -> None:
    call = Call(Wait(0.05), SwapFrames(), Dial("1"), Wait(1)).run_to(0.12)
    assert numbers(call) == ["2", "3", "6", "5", "7", "8"]
    assert call.times("media") == [0.02, 0.04, 0.08, 0.08, 0.1, 0.12]
    assert stamps(call)[2] > stamps(call)[3]


def test_the_sequence_can_jump_and_begin_anew() -> None:
    call = Call(Wait(0.03), CountFrom(900), Wait(0.04), CountFrom(1), Wait(1)).run_to(0.12)
    assert numbers(call) == ["2", "900", "901", "1", "2", "3"]
    assert [message["media"]["chunk"] for message in call.messages("media")] == [*"123456"]


# ---- the network


def test_what_was_held_back_leaves_in_one_burst_and_in_order() -> None:
    clip = speech(100)
    call = Call(Wait(0.05), HoldBack(2), Say(clip), Dial("1"), Wait(5)).run_to(1)
    call.media(speech(20))
    call.mark("m")
    call.run_to(2.1)
    held = [json.loads(str(text)) for at, text in call.sent if at == 2.05]
    assert len(call.times("media")) == 105
    assert call.times("media").count(2.05) == 100, "and nothing before"
    assert [message["event"] for message in held if message["event"] != "media"] == ["dtmf", "mark"]
    order = [int(message["sequenceNumber"]) for message in held]
    assert order == sorted(order)
    assert b"".join(payloads(call)[2:7]) == clip
    assert call.record.inbound_frames_sent == 105
    assert call.record.violations == []


@pytest.mark.edge_case(28)
def test_an_agent_that_reads_too_slowly_loses_audio_and_nothing_else() -> None:
    call = Call(Wait(0.05), HoldBack(2, room_frames=30), Dial("12"), Wait(5)).run_to(2.1)
    assert call.times("media").count(2.05) == 30
    assert call.times("dtmf") == [2.05] * 2
    assert [(v.code, v.at_s) for v in call.record.violations] == [(31930, OPENED_AT + 2.05)]
    assert "70 frames" in call.record.violations[0].detail
    assert call.record.inbound_frames_sent == 35
    assert stamps(call)[32] - stamps(call)[31] == pytest.approx(1420, abs=4)


def test_who_hangs_up_is_heard_of_although_all_is_held_back() -> None:
    call = Call(Wait(0.05), HoldBack(9), Wait(0.1), HangUp()).run_to(1)
    assert call.times("stop") == [0.15]
    assert len(call.times("media")) == 7
    assert call.closes() == [Close(1000)]


def test_what_is_held_back_when_the_line_is_cut_never_leaves() -> None:
    call = Call(Wait(0.05), HoldBack(9), Wait(0.1), DropSocket()).run_to(1)
    assert len(call.times("media")) == 2
    assert call.sent[-1] == (0.15, Close(1006, abrupt=True))


def test_holding_back_twice_prolongs_it() -> None:
    script: list[Any] = [Wait(0.05), HoldBack(1), Wait(0.5), HoldBack(1), Wait(5)]
    call = Call(*script).run_to(2)
    assert call.times("media")[2] == 1.55
