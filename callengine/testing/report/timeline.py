"""A local call as a picture: the data of the report page, from the three records of the call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callengine.machines.onsets import Outcome
from callengine.testing.report.call_report import CallReport, Kind, Lane, Moment, Row, Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from callengine.summary import CallSummary
    from callengine.testing.caller.record import CallRecord
    from callengine.testing.local_call import LocalCall
    from callengine.testing.realtime.record import Record


def report(call: LocalCall, rows: Sequence[Row], title: str) -> CallReport:
    """Everything the page shows, in seconds since the caller's socket was open."""
    began = call.caller.opened_at
    heard = call.caller.heard_track()
    return CallReport(
        title=title,
        seconds=len(heard) / 8000,
        caller=call.caller.said_track(),
        heard=heard,
        lanes=tuple(_lanes(call, began)),
        moments=tuple(sorted(_moments(call, began), key=lambda moment: moment.at_s)),
        rows=tuple(rows),
        summary=call.summary.to_dict(),
    )


def _lanes(call: LocalCall, began: float) -> Iterator[Lane]:
    said = call.caller.said
    yield Lane(
        "caller speaks",
        tuple(Span(s.onset_at - began, s.end_at - began, s.label or s.kind) for s in said),
    )
    if call.model is not None:
        yield Lane("model generates", tuple(_generating(call.model, began)))
    heard = call.caller.heard
    yield Lane("caller hears", tuple(Span(s.at - began, s.until - began, "") for s in heard))


def _generating(model: Record, began: float) -> Iterator[Span]:
    for made in model.responses:
        if made.created_at is not None:
            end = made.done_at if made.done_at is not None else made.created_at
            yield Span(made.created_at - began, end - began, f"{made.id} ({made.status})")


def _moments(call: LocalCall, began: float) -> Iterator[Moment]:
    yield from _caller_moments(call.caller, began)
    yield from _engine_moments(call.summary)
    if call.model is not None:
        yield from _model_moments(call.model, began)


def _caller_moments(caller: CallRecord, began: float) -> Iterator[Moment]:
    for clear in caller.clears:
        label = f"clear arrived, {clear.dropped_bytes // 8} ms dropped"
        yield Moment(clear.at - began, Kind.CLEAR, label)
    for violation in caller.violations:
        yield Moment(violation.at_s - began, Kind.ERROR, f"{violation.code} {violation.detail}")
    for dialled in caller.digits:
        yield Moment(dialled.at - began, Kind.DTMF, "a key")


_ONSETS = {
    Outcome.ACTED: Kind.BARGE_IN,
    Outcome.PENDING: Kind.BARGE_IN,
    Outcome.GUARDED: Kind.GUARDED,
    Outcome.FALSE: Kind.FALSE_TRIGGER,
    Outcome.RESUMED: Kind.RESUME,
}


def _engine_moments(summary: CallSummary) -> Iterator[Moment]:
    for entry in summary.barge_ins:
        kind = _ONSETS.get(entry.outcome)
        if kind is not None:
            decided_ms = (entry.decided_s - entry.onset_s) * 1000
            label = f"onset at {entry.onset_s:.3f} s, decided {decided_ms:.0f} ms later"
            yield Moment(entry.decided_s, kind, label)
    for at_s in summary.late_at_s:
        yield Moment(at_s, Kind.LATE_FRAME, "a frame left 20 ms late or more")


def _model_moments(model: Record, began: float) -> Iterator[Moment]:
    for cancel in model.cancels:
        label = f"{cancel.response_id}: {cancel.outcome.value}"
        yield Moment(cancel.at - began, Kind.CANCEL, label)
    for truncate in model.truncates:
        label = f"{truncate.item_id} to {truncate.audio_end_ms:.0f} ms"
        yield Moment(truncate.at - began, Kind.TRUNCATE, label)
