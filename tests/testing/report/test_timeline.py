from __future__ import annotations

import json
from dataclasses import replace

from callengine.testing.caller.record import Dialled, Violation
from callengine.testing.report import proof, timeline
from callengine.testing.report.call_report import CallReport, Kind, Lane
from callengine.testing.report.page import write_page
from tests.testing.report.held import held


def report() -> CallReport:
    call = held()
    return timeline.report(call, proof.rows(call), "A call")


def lane(name: str) -> Lane:
    return next(each for each in report().lanes if each.name == name)


def labels(found: CallReport, kind: Kind) -> list[str]:
    return [moment.label for moment in found.moments if moment.kind is kind]


def test_it_is_as_long_as_the_call() -> None:
    found, call = report(), held()
    assert call.caller.closed is not None
    assert abs(found.seconds - (call.caller.closed.at - call.caller.opened_at)) < 0.001
    assert len(found.caller) == len(found.heard) == round(found.seconds * 8000)
    assert found.title == "A call"
    assert found.passed


def test_every_lane_lies_within_the_call() -> None:
    found = report()
    assert [each.name for each in found.lanes] == [
        "caller speaks",
        "model generates",
        "caller hears",
    ]
    for each in found.lanes:
        assert each.spans
        for span in each.spans:
            assert 0 <= span.start_s <= span.end_s <= found.seconds


def test_the_lanes_show_what_the_records_say() -> None:
    call = held()
    assert call.model is not None
    assert [span.label for span in lane("caller speaks").spans] == [
        said.label for said in call.caller.said
    ]
    assert [span.label for span in lane("model generates").spans] == [
        f"{made.id} ({made.status})" for made in call.model.responses
    ]
    heard_s = sum(span.end_s - span.start_s for span in lane("caller hears").spans)
    assert abs(heard_s - sum(len(span.payload) for span in call.caller.heard) / 8000) < 0.001


def test_times_count_from_the_opening_of_the_socket() -> None:
    call = held()
    call.caller.opened_at -= 100.0
    later = timeline.report(call, (), "later")
    for ours, theirs in zip(lane("caller speaks").spans, later.lanes[0].spans, strict=True):
        assert theirs.start_s - ours.start_s == 100.0


def test_moments_are_in_order_and_each_interruption_shows_all_it_led_to() -> None:
    found, call = report(), held()
    assert call.model is not None
    at_s = [moment.at_s for moment in found.moments]
    assert at_s == sorted(at_s)
    assert min(at_s) >= 0
    assert max(at_s) <= found.seconds
    assert len(labels(found, Kind.BARGE_IN)) == 2
    assert labels(found, Kind.GUARDED)
    assert labels(found, Kind.CLEAR) == [
        f"clear arrived, {clear.dropped_bytes // 8} ms dropped" for clear in call.caller.clears
    ]
    assert labels(found, Kind.TRUNCATE) == [
        f"{cut.item_id} to {cut.audio_end_ms} ms" for cut in call.model.truncates
    ]
    assert len(labels(found, Kind.CANCEL)) == len(call.model.cancels) == 1
    assert labels(found, Kind.ERROR) == labels(found, Kind.LATE_FRAME) == []


def test_the_engine_clears_before_it_tells_the_model() -> None:
    moments = [moment.kind for moment in report().moments]
    assert moments.index(Kind.BARGE_IN) < moments.index(Kind.CLEAR) < moments.index(Kind.TRUNCATE)


def test_what_went_wrong_is_marked() -> None:
    call = held()
    call.caller.violations.append(Violation(31951, "not JSON", call.caller.opened_at + 2.0))
    call.caller.digits.append(Dialled("7", call.caller.opened_at + 3.0))
    call = replace(call, summary=replace(call.summary, late_at_s=(4.0,)))
    found = timeline.report(call, (), "wrong")
    assert labels(found, Kind.ERROR) == ["31951 not JSON"]
    assert labels(found, Kind.DTMF) == ["a key"]  # which one may be part of a card number
    assert labels(found, Kind.LATE_FRAME) == ["a frame left 20 ms late or more"]


def test_without_a_record_of_the_model_its_lane_is_left_out() -> None:
    found = timeline.report(replace(held(), model=None), (), "real model")
    assert [each.name for each in found.lanes] == ["caller speaks", "caller hears"]
    assert labels(found, Kind.TRUNCATE) == labels(found, Kind.CANCEL) == []
    assert len(labels(found, Kind.BARGE_IN)) == 2


def test_a_call_in_which_nothing_happened() -> None:
    call = held()
    call.caller.heard.clear()
    call.caller.said.clear()
    call.caller.clears.clear()
    found = timeline.report(replace(call, model=None), (), "quiet")
    assert [each.spans for each in found.lanes] == [(), ()]
    assert found.heard == b"\xff" * len(found.heard)


def test_it_can_be_written_down(tmp_path: object) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "call.html"
    write_page(path, report())
    assert "while the model generates" in path.read_text("utf-8")
    json.dumps(dict(report().summary))
