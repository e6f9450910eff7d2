"""The proof's rows fail when they should: records of a good call are tampered with."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from callengine import EndCause
from callengine.testing import Wait
from callengine.testing.caller.record import Missed, Said, Violation
from callengine.testing.local_call import OVER_GREETING, LocalCall, Resources
from callengine.testing.report import proof
from tests.testing.report.held import held

if TYPE_CHECKING:
    from collections.abc import Callable

    from callengine.testing.realtime.record import Record
    from callengine.testing.report.call_report import Row

LATE = "tx_late_frames"
STALE = "interrupted audio after clear (bytes)"
TORN = "replies not heard whole, without a gap"
TRUNCATE = "truncate against what was heard (ms)"
COUNTERS = "engine's counters against the simulators'"
SILENCE = "onset to silence (ms)"
LEFT = "threads and sockets left over"


def failed(call: LocalCall) -> dict[str, Row]:
    return {row.name: row for row in proof.rows(call) if not row.passed}


def seen(call: LocalCall) -> Record:
    assert call.model is not None
    return call.model


def with_summary(call: LocalCall, **changes: Any) -> LocalCall:  # noqa: ANN401
    return replace(call, summary=replace(call.summary, **changes))


def test_a_good_call_passes_every_row() -> None:
    call = held()
    assert failed(call) == {}
    names = [row.name for row in proof.rows(call)]
    assert len(names) == len(set(names)) == 16
    assert len(call.caller.clears) == 2
    assert len(seen(call).truncates) == 2


def test_with_a_real_model_there_are_fewer_rows_and_they_pass() -> None:
    rows = proof.rows(replace(held(), model=None))
    assert all(row.passed for row in rows)
    assert {row.name for row in rows}.isdisjoint({STALE, TORN, TRUNCATE, COUNTERS})
    assert SILENCE in {row.name for row in rows}


# ---- the engine's own numbers


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"end_cause": EndCause.CRASHED, "end_detail": "TxPacer"}, "end of the call"),
        ({"end_cause": EndCause.SHUTDOWN}, "end of the call"),
        ({"first_chunk_bytes": 159}, "first_chunk_bytes"),
        ({"first_chunk_bytes": 0}, "first_chunk_bytes"),
        ({"tx_schedule_resets": 1}, "tx_schedule_resets"),
        ({"stuck_recoveries": 1}, "stuck_recoveries"),
        ({"context_errors": 1}, "context_errors"),
        ({"barge_in_events": 1}, "barge_in_events"),
        ({"barge_in_events": 3}, "barge_in_events"),
    ],
)
def test_a_number_of_the_summary(changes: dict[str, object], name: str) -> None:
    assert list(failed(with_summary(held(), **changes))) == [name]


def test_the_cause_of_a_call_that_ended_early_can_be_read() -> None:
    call = with_summary(held(), end_cause=EndCause.MODEL_REFUSED, end_detail="check the key")
    assert failed(call)["end of the call"].measured == "model_refused: check the key"


@pytest.mark.parametrize("name", ["played_bytes", "flushed_bytes", "received_bytes"])
@pytest.mark.parametrize("by", [-1, 1])
def test_a_byte_of_audio_that_is_unaccounted_for(name: str, by: int) -> None:
    call = held()
    audio = replace(call.summary.audio, **{name: getattr(call.summary.audio, name) + by})
    assert list(failed(with_summary(call, audio=audio))) == ["audio unaccounted for (bytes)"]


def test_late_frames_count_by_their_share() -> None:
    call = held()
    allowed = int(call.summary.tx_frames * 0.005)
    assert allowed >= 5
    assert failed(with_summary(call, tx_late_frames=allowed)) == {}
    assert list(failed(with_summary(call, tx_late_frames=allowed + 1))) == [LATE]


# ---- what the caller saw


@pytest.mark.parametrize("size", [0, 159, 161, 320])
def test_a_frame_of_another_size(size: int) -> None:
    call = held()
    frame = call.caller.frames[100]
    call.caller.frames[100] = replace(frame, payload=(frame.payload * 2)[:size])
    assert list(failed(call)) == ["frames that are not 160 bytes"]


def test_a_violation_or_a_missed_step() -> None:
    name = "protocol violations, missed steps"
    call = held()
    call.caller.violations.append(Violation(31951, "message lacks streamSid", 1.0))
    assert list(failed(call)) == [name]
    call = held()
    call.caller.missed.append(Missed(Wait(1.0), 1.0))
    assert list(failed(call)) == [name]


def shifted(call: LocalCall, seconds: float) -> LocalCall:
    """The caller began to interrupt the model by so much earlier than the record says."""
    said = call.caller.said[-1]
    call.caller.said[-1] = replace(said, onset_at=said.onset_at - seconds)
    return call


def test_silence_that_comes_late() -> None:
    assert failed(shifted(held(), 0.11)) == {}
    assert list(failed(shifted(held(), 0.13))) == [SILENCE]


def test_silence_that_never_came() -> None:
    call = held()
    call.caller.heard[-1] = replace(call.caller.heard[-1], at=call.caller.said[-1].onset_at - 1.0)
    call.caller.unheard_bytes = 160
    assert SILENCE in failed(call)


def test_an_interruption_nobody_acted_on() -> None:
    call = held()
    call.caller.said.append(Said("again", 1e6, 1e6 + 1, "barge_in", b"\x00"))
    assert list(failed(call)) == ["barge_in_events"]


def test_talking_over_the_greeting_is_no_interruption() -> None:
    call = held()
    assert call.caller.said[0].label == OVER_GREETING
    call.caller.said.append(replace(call.caller.said[0], onset_at=1e6, end_at=1e6 + 1))
    assert failed(call) == {}


def test_a_call_without_interruptions_proves_nothing_about_them() -> None:
    call = held()
    call.caller.said[:] = [said for said in call.caller.said if said.kind == "say"]
    call = with_summary(call, barge_in_events=0)
    assert list(failed(call)) == [SILENCE]
    assert failed(call)[SILENCE].measured == "none"


# ---- what was heard, against what the model sent


@pytest.mark.parametrize("number", [0, 1], ids=["while generating", "after it was done"])
def test_a_frame_of_interrupted_audio_after_the_clear(number: int) -> None:
    call = held()
    cleared = call.caller.clears[number]
    item = seen(call).truncates[number].item_id
    response = next(r for r in seen(call).responses if any(i.id == item for i in r.items))
    later = next(n for n, frame in enumerate(call.caller.frames) if frame.at > cleared.at)
    stale = replace(call.caller.frames[later], payload=response.audio[16_000:16_160])
    call.caller.frames[later] = stale
    assert list(failed(call)) == [STALE]
    assert failed(call)[STALE].measured == "160"


def test_silence_after_a_clear_is_not_interrupted_audio() -> None:
    call = held()
    last = len(call.caller.frames) - 1
    call.caller.frames[last] = replace(call.caller.frames[last], payload=b"\xff" * 160)
    assert failed(call) == {}


def test_a_reply_whose_first_frame_was_not_heard() -> None:
    call = held()
    first = call.caller.heard[0]
    call.caller.heard[0] = replace(first, at=first.at + 0.02, payload=first.payload[160:])
    assert list(failed(call)) == [TORN]
    assert failed(call)[TORN].measured == "1 of 3"


def test_a_reply_whose_last_frame_was_not_heard() -> None:
    call = held()
    last = call.caller.heard[-1]
    call.caller.heard[-1] = replace(last, payload=last.payload[:-320])
    assert list(failed(call)) == [TORN]


@pytest.mark.parametrize(
    "between", [b"", b"\xff" * 320, b"\x00" * 160], ids=["lost", "padded", "replaced"]
)
def test_a_reply_with_a_gap_in_its_middle(between: bytes) -> None:
    call = held()
    first = call.caller.heard[0]
    payload = first.payload[:8_000] + between + first.payload[8_160:]
    call.caller.heard[0] = replace(first, payload=payload)
    assert list(failed(call)) == [TORN]


def test_a_reply_with_a_frame_that_was_heard_twice() -> None:
    call = held()
    first = call.caller.heard[0]
    payload = first.payload[:8_160] + first.payload[8_000:]
    call.caller.heard[0] = replace(first, payload=payload)
    assert list(failed(call)) == [TORN]


def test_a_reply_nobody_heard_anything_of() -> None:
    call = held()
    del call.caller.heard[-1]
    assert TORN in failed(call)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("by_ms", [-60, 60])
def test_a_truncate_that_is_off(number: int, by_ms: int) -> None:
    call = held()
    record = seen(call)
    truncate = record.truncates[number]
    record.truncates[number] = replace(truncate, audio_end_ms=truncate.audio_end_ms + by_ms)
    assert list(failed(call)) == [TRUNCATE]
    record.truncates[number] = replace(truncate, audio_end_ms=truncate.audio_end_ms + by_ms // 2)
    assert failed(call) == {}


def test_a_truncate_of_an_item_that_was_heard_to_its_end() -> None:
    call = held()
    greeting = seen(call).responses[0].items[0]
    wrong = replace(seen(call).truncates[0], item_id=greeting.id, audio_end_ms=0)
    seen(call).truncates.append(wrong)
    call = with_summary(
        call,
        conversation=replace(
            call.summary.conversation, truncates_sent=call.summary.conversation.truncates_sent + 1
        ),
    )
    assert TRUNCATE in failed(call)


def test_a_truncate_that_was_never_sent() -> None:
    call = held()
    seen(call).truncates.clear()
    assert {TRUNCATE, TORN, COUNTERS} <= failed(call).keys()
    assert failed(call)[TRUNCATE].measured == "none"


# ---- counters


def one_more(summary: Any, path: str) -> Any:  # noqa: ANN401
    name, _, rest = path.partition(".")
    value = getattr(summary, name)
    return replace(summary, **{name: one_more(value, rest) if rest else value + 1})


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("tx_frames", "frames out"),
        ("inbound.frames", "frames in"),
        ("transmission.clears", "clears"),
        ("playout.marks_sent", "marks"),
        ("conversation.audio_deltas", "audio deltas"),
        ("conversation.audio_bytes", "audio bytes"),
        ("session.appended_bytes", "appended bytes"),
        ("response.responses", "responses"),
        ("response.creates_sent", "creates"),
        ("response.cancels_sent", "cancels"),
        ("conversation.truncates_sent", "truncates"),
    ],
)
def test_a_counter_that_is_off_by_one_is_named(path: str, name: str) -> None:
    call = held()
    call = replace(call, summary=one_more(call.summary, path))
    found = failed(call)
    assert list(found) == [COUNTERS]
    assert found[COUNTERS].measured.startswith(f"{name} ")


DROPPED: list[tuple[str, Callable[[LocalCall], Any]]] = [
    ("frames in", lambda call: setattr(call.caller, "inbound_frames_sent", 0)),
    ("marks", lambda call: call.caller.marks.pop()),
    ("creates", lambda call: seen(call).creates.pop()),
    ("cancels", lambda call: seen(call).cancels.pop()),
    ("appended bytes", lambda call: seen(call).appended.pop()),
]


@pytest.mark.parametrize(("name", "drop"), DROPPED)
def test_a_simulator_that_saw_less_than_the_engine_did(
    name: str, drop: Callable[[LocalCall], Any]
) -> None:
    call = held()
    drop(call)
    found = failed(call)
    assert list(found) == [COUNTERS]
    assert found[COUNTERS].measured.startswith(f"{name} ")


def test_an_error_of_the_model_the_engine_did_not_count() -> None:
    call = held()
    call.summary.conversation.errors["invalid_value"] += 1
    assert list(failed(call)) == [COUNTERS]


# ---- resources


@pytest.mark.parametrize(
    ("threads", "sockets", "left"), [(1, 0, 1), (0, 1, 1), (2, 3, 5), (-1, 1, 1), (1, -1, 1)]
)
def test_whatever_was_not_given_back(threads: int, sockets: int, left: int) -> None:
    call = held()
    before = call.before
    after = Resources(before.threads + threads, before.sockets + sockets)
    found = failed(replace(call, after=after))
    assert list(found) == [LEFT]
    assert found[LEFT].measured == str(left)


def test_less_than_before_is_nothing_left_over() -> None:
    assert failed(replace(held(), after=Resources(0, 0))) == {}
