"""What a call must show, as rows of pass and fail.

The two simulators measure; the engine's own numbers are only compared with theirs.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from callengine.audio.g711 import BYTES_PER_MS, FRAME_BYTES, SILENCE_BYTE
from callengine.messages import EndCause
from callengine.testing.local_call import OVER_GREETING, LocalCall
from callengine.testing.report.call_report import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from callengine.summary import CallSummary
    from callengine.testing.caller.record import CallRecord, Said
    from callengine.testing.realtime.record import Record, ResponseRecord

SILENCE_WITHIN_MS: Final = 200
TRUNCATE_WITHIN_MS: Final = 40
LATE_SHARE: Final = 0.005


def rows(call: LocalCall) -> list[Row]:
    """The table; rows that need the simulated model's record are left out without one."""
    found = [*_engine_rows(call.summary), *_caller_rows(call.caller, call.summary)]
    if call.model is not None:
        found += _model_rows(call.caller, call.model)
        found.append(_counters(call.caller, call.model, call.summary))
    found.append(_row("threads and sockets left over", _left_over(call), "0", lambda n: n == 0))
    return found


def _row(name: str, measured: int, required: str, passes: Callable[[int], bool]) -> Row:
    return Row(name, str(measured), required, passes(measured))


def _engine_rows(summary: CallSummary) -> Iterator[Row]:
    ended = f"{summary.end_cause}: {summary.end_detail}".removesuffix(": ")
    as_scripted = summary.end_cause is EndCause.CALLER_HUNG_UP
    yield Row("end of the call", ended, EndCause.CALLER_HUNG_UP, as_scripted)
    late = summary.tx_late_frames / max(summary.tx_frames, 1)
    yield _row("tx_schedule_resets", summary.tx_schedule_resets, "0", lambda n: n == 0)
    yield Row(
        "tx_late_frames",
        f"{summary.tx_late_frames} of {summary.tx_frames}",
        "<= 0.5 %",
        late <= LATE_SHARE,
    )
    yield _row("stuck_recoveries", summary.stuck_recoveries, "0", lambda n: n == 0)
    yield _row("context_errors", summary.context_errors, "0", lambda n: n == 0)
    balance = summary.audio.balance_bytes
    yield _row("audio unaccounted for (bytes)", balance, "0", lambda n: n == 0)


def _caller_rows(caller: CallRecord, summary: CallSummary) -> Iterator[Row]:
    first = caller.frames[0].size_bytes if caller.frames else 0
    both = first == summary.first_chunk_bytes == FRAME_BYTES
    yield Row("first_chunk_bytes", f"{first}, engine: {summary.first_chunk_bytes}", "160", both)
    odd = sum(frame.size_bytes != FRAME_BYTES for frame in caller.frames)
    yield _row("frames that are not 160 bytes", odd, "0", lambda n: n == 0)
    problems = len(caller.violations) + len(caller.missed)
    yield _row("protocol violations, missed steps", problems, "0", lambda n: n == 0)
    interruptions = _interruptions(caller)
    yield _row(
        "barge_in_events",
        summary.barge_in_events,
        str(len(interruptions)),
        lambda n: n == len(interruptions),
    )
    silences = [caller.silence_after(said.onset_at) for said in interruptions]
    waits_ms = [float("inf") if each is None else each * 1000 for each in silences]
    yield Row(
        "onset to silence (ms)",
        f"p50 {statistics.median(waits_ms):.0f}, max {max(waits_ms):.0f}" if waits_ms else "none",
        f"each <= {SILENCE_WITHIN_MS}",
        bool(waits_ms) and max(waits_ms) <= SILENCE_WITHIN_MS,
    )


def _interruptions(caller: CallRecord) -> list[Said]:
    """What the caller said over the AI where that may be interrupted."""
    return [said for said in caller.said if said.kind == "barge_in" and said.label != OVER_GREETING]


# ---- what the caller heard, against what the model sent


def _model_rows(caller: CallRecord, model: Record) -> Iterator[Row]:
    interrupted = {truncate.item_id for truncate in model.truncates}
    cut = [r for r in model.responses if any(item.id in interrupted for item in r.items)]
    whole = [r for r in model.responses if r not in cut and r.audio]
    stale = sum(_stale_bytes(caller, model, response) for response in cut)
    yield _row("interrupted audio after clear (bytes)", stale, "0", lambda n: n == 0)
    torn = [r.id for r in whole if r.audio not in _heard_since(caller, r.created_at or 0.0)]
    yield Row(
        "replies not heard whole, without a gap",
        f"{len(torn)} of {len(whole)}",
        "0",
        bool(whole) and not torn,
    )
    errors = [abs(each) for each in _truncate_errors_ms(caller, model)]
    yield Row(
        "truncate against what was heard (ms)",
        f"max {max(errors):.0f} off, {len(errors)} items" if errors else "none",
        f"each within {TRUNCATE_WITHIN_MS}",
        bool(errors) and max(errors) <= TRUNCATE_WITHIN_MS,
    )


def _stale_bytes(caller: CallRecord, model: Record, response: ResponseRecord) -> int:
    """Bytes of a response that arrived after the clear that interrupted it."""
    cleared_at = next((c.at for c in caller.clears if c.at >= (response.created_at or 0)), None)
    if cleared_at is None:
        return 0
    later = b"".join(r.audio for r in model.responses if (r.created_at or 0) > cleared_at)
    after = (frame.payload for frame in caller.frames if frame.at > cleared_at)
    return sum(
        len(payload)
        for payload in after
        if payload.strip(SILENCE_BYTE) and payload in response.audio and payload not in later
    )


def _truncate_errors_ms(caller: CallRecord, model: Record) -> Iterator[float]:
    """By how much the model was told more, or less, than the caller had heard."""
    for truncate in model.truncates:
        for response in model.responses:
            for item in response.items:
                if item.id == truncate.item_id:
                    heard = _heard_since(caller, response.created_at or 0.0)
                    yield truncate.audio_end_ms - _heard_bytes(heard, item.audio) / BYTES_PER_MS


def _heard_since(caller: CallRecord, at: float) -> bytes:
    """What was heard from `at` on, without the silence between."""
    return b"".join(span.payload for span in caller.heard if span.until > at)


def _heard_bytes(heard: bytes, audio: bytes) -> int:
    """How much of `audio` was heard from its beginning."""
    begin = heard.find(audio[:FRAME_BYTES])
    if begin < 0:
        return 0
    pairs = zip(audio, heard[begin:], strict=False)
    return next((n for n, (sent, got) in enumerate(pairs) if sent != got), len(heard) - begin)


# ---- counters


def _counters(caller: CallRecord, model: Record, summary: CallSummary) -> Row:
    """The engine's numbers, each beside what a simulator counted."""
    pairs = {
        "frames out": (summary.tx_frames, len(caller.frames)),
        "frames in": (summary.inbound.frames, caller.inbound_frames_sent),
        "clears": (summary.transmission.clears, len(caller.clears)),
        "marks": (summary.playout.marks_sent, len(caller.marks)),
        "audio deltas": (summary.conversation.audio_deltas, model.deltas_sent),
        "audio bytes": (summary.conversation.audio_bytes, model.audio_bytes_sent),
        "appended bytes": (summary.session.appended_bytes, len(model.appended)),
        "responses": (summary.response.responses, len(model.responses)),
        "creates": (summary.response.creates_sent, len(model.creates)),
        "cancels": (summary.response.cancels_sent, len(model.cancels)),
        "truncates": (summary.conversation.truncates_sent, len(model.truncates)),
        "errors": (summary.conversation.errors.total(), len(model.errors)),
    }
    wrong = [f"{name} {ours}/{theirs}" for name, (ours, theirs) in pairs.items() if ours != theirs]
    told = ", ".join(wrong) or f"{len(pairs)} of {len(pairs)} equal"
    return Row("engine's counters against the simulators'", told, "all equal", not wrong)


def _left_over(call: LocalCall) -> int:
    threads = call.after.threads - call.before.threads
    sockets = call.after.sockets - call.before.sockets
    return max(threads, 0) + max(sockets, 0)
