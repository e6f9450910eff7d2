"""Model audio of every size and at every pace, of several items, or none."""

from __future__ import annotations

from itertools import pairwise

import pytest

from callengine import Agent, EndCause
from callengine.agent import AgentSaid, CallerSaid
from callengine.machines.onsets import Outcome
from callengine.machines.playout import MAX_QUEUED_BYTES
from callengine.testing import BargeIn, Behaviour, Reply, laws
from callengine.testing.caller.script import Wait, WaitUntilQuiet
from callengine.testing.held import noise, reply
from callengine.testing.realtime.faults import (
    AtResponse,
    Fault,
    SendRaw,
    StallAudio,
    delta_message,
    event_message,
)
from callengine.wire import realtime_events as ev
from callengine.wire.realtime_server import decode
from tests.edge_cases.model_calls import ASK, FAREWELL, INVENTED, REPLIES, STOP, call, check, heard

# ---- sizes


@pytest.mark.edge_case(46)
@pytest.mark.parametrize(
    "delta_bytes",
    [(1,), (159,), (160,), (161,), (1_000,), (4_133,), (65_536,), (0, 160), (0, 1, 161), (7, 0)],
    ids=str,
)
def test_deltas_of_any_size_are_joined_and_only_the_tail_is_padded(
    delta_bytes: tuple[int, ...],
) -> None:
    """Sizes that are no multiple of three have odd base64 padding."""
    replies = [reply(0.207, 1), reply(0.6001, 2)]
    held = call(ASK, replies, behaviour=Behaviour(delta_bytes=delta_bytes))
    check(held)
    laws.replies_have_no_gaps(held)
    padded = [audio.ljust(-(-len(audio) // 160) * 160, b"\xff") for audio in map(audio_of, replies)]
    assert b"".join(frame.payload for frame in held.caller.frames) == b"".join(padded)


def audio_of(spoken: Reply) -> bytes:
    return spoken.audio


@pytest.mark.edge_case(46)
def test_a_delta_of_15_mib_costs_itself_only() -> None:
    """Half an hour in one piece is more than any carrier would hold."""
    size = 15 * 2**20
    assert size > MAX_QUEUED_BYTES
    big = SendRaw(AtResponse(2, 1_000), delta_message("resp_sim0002", "item_sim_a3", bytes(size)))
    held = call(ASK, REPLIES, big)
    check(held, *INVENTED)
    assert held.summary.audio.overflow_bytes == size
    assert held.summary.audio.received_bytes == size + held.model.audio_bytes_sent
    assert heard(held) == b"".join(response.audio for response in held.model.responses)


@pytest.mark.edge_case(46)
def test_a_delta_of_a_minute_is_heard() -> None:
    long = noise(60.0, 9)
    piece = SendRaw(AtResponse(2, 2_000), delta_message("resp_sim0002", "item_sim_a3", long))
    held = call([*ASK[:2], WaitUntilQuiet(1.0, 90.0)], REPLIES, piece)
    assert heard(held) == b"".join(r.audio for r in held.model.responses) + long


@pytest.mark.edge_case(46)
def test_the_decoder_takes_15_mib() -> None:
    audio = noise(1.0, 1) * 1_966
    event = decode(delta_message("r", "i", audio))
    assert isinstance(event, ev.AudioDelta)
    assert event.audio == audio


@pytest.mark.edge_case(46)
@pytest.mark.parametrize("text", ["%%%%", "fn5", "fn5+\n", "_-8=", "fn5+=", "", None, 7, ["fn5+"]])
def test_a_delta_that_is_no_base64_costs_itself_only(text: object) -> None:
    broken = event_message(
        "response.output_audio.delta",
        response_id="resp_sim0002",
        item_id="item_sim_a3",
        output_index=0,
        content_index=0,
        delta=text,
    )
    held = call(ASK, REPLIES, SendRaw(AtResponse(2, 500), broken))
    check(held, *(INVENTED if text == "" else ()))
    laws.replies_have_no_gaps(held)
    assert held.summary.conversation.malformed_events == (text != "")
    assert heard(held) == b"".join(response.audio for response in held.model.responses)


# ---- pace


@pytest.mark.edge_case(47)
@pytest.mark.parametrize(
    ("pace", "seconds"),
    [(60.0, 60.0), (6.0, 20.0), (1.2, 5.0)],
    ids=["a minute in a second", "as captured", "hardly faster than speech"],
)
def test_whatever_the_pace_a_reply_is_heard_whole(pace: float, seconds: float) -> None:
    script = [WaitUntilQuiet(0.5, 90.0)]
    behaviour = Behaviour(pace=pace, delta_bytes=(160, 320))
    held = call(script, [reply(seconds, 3)], behaviour=behaviour)
    check(held)
    laws.replies_have_no_gaps(held)
    assert held.summary.tx_late_frames == held.summary.tx_schedule_resets == 0


UNDERRUN: list[tuple[Behaviour, tuple[Fault, ...]]] = [
    (Behaviour(pace=0.7, delta_bytes=(160,)), ()),
    (Behaviour(pace=0.7, delta_bytes=(4_133,)), ()),
    (Behaviour(), (StallAudio(2, 2_000, 3.0),)),
    (Behaviour(pace=1.0), (StallAudio(2, 2_013, 3.0),)),
]
UNDERRUN_IDS = ["0.7 small", "0.7 large", "stall", "stall at real time"]


@pytest.mark.edge_case(47)
@pytest.mark.parametrize(("behaviour", "faults"), UNDERRUN, ids=UNDERRUN_IDS)
def test_a_model_that_is_too_slow_leaves_silence_and_no_noise(
    behaviour: Behaviour, faults: tuple[Fault, ...]
) -> None:
    """A frame waits for its end: padding in mid-sentence would be heard as a click."""
    script = [*ASK[:2], WaitUntilQuiet(4.0, 30.0)]
    held = call(script, [reply(2.0, 1), reply(5.0, 2)], *faults, behaviour=behaviour)
    check(held)
    spans = [span for span in held.caller.heard if span.payload in held.model.responses[1].audio]
    gaps = [after.at - before.until for before, after in pairwise(spans)]
    assert gaps, "the fault was one"
    assert heard(held) == held.model.responses[0].audio + held.model.responses[1].audio
    assert held.summary.stuck_recoveries == 0


@pytest.mark.edge_case(47)
@pytest.mark.parametrize("heard_s", [0.1, 0.4])
@pytest.mark.parametrize(("behaviour", "faults"), UNDERRUN, ids=UNDERRUN_IDS)
def test_where_the_caller_is_in_a_slow_reply_is_known(
    behaviour: Behaviour, faults: tuple[Fault, ...], heard_s: float
) -> None:
    """The laws compare every truncate with what was heard, in the gaps too."""
    script = [*ASK[:2], BargeIn(STOP, heard_s, timeout_s=8.0), WaitUntilQuiet(4.0, 30.0)]
    replies = [reply(2.0, 1), reply(5.0, 2), reply(1.5, 3)]
    held = call(script, replies, *faults, behaviour=behaviour)
    check(held)
    assert held.caller.missed == []
    assert len(held.model.truncates) == 1


@pytest.mark.edge_case(47)
@pytest.mark.parametrize("spoken_at_s", [2.4, 2.9, 3.6])
def test_a_caller_who_speaks_while_the_reply_stalls(spoken_at_s: float) -> None:
    """Nothing is audible: what was heard is all that had come, and none of the rest is played."""
    script = [*ASK[:2], Wait(spoken_at_s), BargeIn(STOP, 0.0, timeout_s=0.1), Wait(0.1)]
    steps = [*script, *ASK[1:]]
    held = call(steps, [reply(2.0, 1), reply(5.0, 2), *REPLIES[2:]], StallAudio(2, 1_000, 6.0))
    check(held)
    assert held.model.responses[1].status in {"cancelled", "completed"}


@pytest.mark.edge_case(47, 75)
def test_a_first_delta_after_four_seconds_is_waited_for() -> None:
    held = call(ASK, REPLIES, behaviour=Behaviour(first_audio_s=4.0))
    check(held)
    laws.replies_have_no_gaps(held)
    assert held.summary.response.retries == held.summary.stuck_recoveries == 0
    assert len(held.model.responses) == 2


# ---- items


@pytest.mark.edge_case(48)
@pytest.mark.parametrize("pace", [2.0, 60.0])
@pytest.mark.parametrize(("heard_s", "in_item"), [(1.0, 0), (3.0, 1)])
def test_the_item_being_heard_is_cut_and_what_comes_behind_it_never_was(
    heard_s: float, in_item: int, pace: float
) -> None:
    """The second item begins before the first is done, as captured."""
    script = [*ASK[:2], BargeIn(STOP, heard_s), WaitUntilQuiet(2.0, 20.0)]
    replies = [reply(1.0, 1), reply(2.0, 2, second_item_s=4.0), reply(1.5, 3)]
    held = call(script, replies, behaviour=Behaviour(pace=pace))
    check(held)
    (entry,) = held.interruptions
    assert entry.outcome is Outcome.ACTED
    begun = [item for item in held.model.responses[1].items if item.audio]
    cut = {truncate.item_id: truncate.audio_end_ms for truncate in held.model.truncates}
    assert list(cut) == [item.id for item in begun[in_item:]]
    reached_ms = (heard_s - 2.0 * in_item) * 1_000
    assert cut[begun[in_item].id] == pytest.approx(reached_ms + 100, abs=120)
    assert [cut[item.id] for item in begun[in_item + 1 :]] == [0] * len(begun[in_item + 1 :])


# ---- words without a voice, a voice without words


@pytest.mark.edge_case(44)
@pytest.mark.parametrize("text_only", [Reply(transcript="Words only."), Reply()])
def test_a_model_that_has_lost_its_voice_is_asked_twice_and_then_given_up(text_only: Reply) -> None:
    held = call([*ASK[:2], Wait(30.0)], [REPLIES[0], text_only, text_only])
    assert held.summary.conversation.silent_responses == 2
    assert held.summary.end_cause is EndCause.MODEL_FAILED
    assert held.summary.stuck_recoveries == 0, "the call was not taken to be speaking"
    assert heard(held) == REPLIES[0].audio + FAREWELL


@pytest.mark.edge_case(45)
def test_a_reply_without_words_is_heard_and_nothing_is_told_of_it() -> None:
    said: list[object] = []
    agent = Agent(on_event=said.append)
    held = call(ASK, [Reply(audio=each.audio) for each in REPLIES], agent=agent)
    check(held)
    assert [type(event) for event in said if isinstance(event, AgentSaid)] == []
    assert len([event for event in said if isinstance(event, CallerSaid)]) == 1
    assert held.summary.conversation.silent_responses == 0
