"""TxPacer: audio, marks and speech in; exact JSON to the carrier and messages to the others out."""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from callengine.actors.shell import Report
from callengine.actors.tx_pacer import TxPacer
from callengine.machines.onsets import Outcome
from callengine.machines.transmission import Transmission
from callengine.messages import (
    ActorCrashed,
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    BeginAnew,
    CallerSpoke,
    CloseSocket,
    Drained,
    DrainRequest,
    FrameSent,
    HeardItem,
    Interrupted,
    MarkEchoed,
    OnsetDebounced,
    Owner,
    PlayAudio,
    Refusal,
    ReportRequest,
    ResetGranted,
    ResetReason,
    ResetRefused,
    ResetRequest,
    ResponseHeard,
    SpeechConfirmed,
    SpeechEnded,
    SpeechOnset,
    StateChanged,
    StreamStarted,
)
from callengine.reports import PacerReport
from tests.actors.rig import CarrierTape

if TYPE_CHECKING:
    from tests.actors.rig import Rig

STREAM_SID = 'MZ"odd\\'
STARTED = StreamStarted(STREAM_SID, "CA1", {})
AUDIO = bytes(n % 255 for n in range(8_000))  # a second, no byte of it silence


def place(rig: Rig, *, unsent: int = 0, lead_s: float = 0.1) -> CarrierTape:
    link = CarrierTape(unsent)

    def transmit(generation: int) -> Transmission:
        return Transmission(
            lead_s=lead_s, mark_every_frames=10, false_trigger_s=0.5, generation=generation
        )

    rig.place("pacer", TxPacer.start(rig.stepper, rig.log, link, transmit))
    return link


@pytest.fixture
def link(rig: Rig) -> CarrierTape:
    return place(rig)


def play(audio: bytes = AUDIO, *, generation: int = 0, protected: bool = False) -> PlayAudio:
    return PlayAudio("r1", "i1", 0, audio, generation, protected)


def written(link: CarrierTape) -> list[tuple[str, dict[str, Any]]]:
    return [(how, json.loads(what[0])) for how, *what in link.tape if how != "close"]


def audio_of(link: CarrierTape) -> bytes:
    frames = [m["media"]["payload"] for how, m in written(link) if how == "send_media"]
    return b"".join(map(base64.b64decode, frames))


def report(rig: Rig) -> PacerReport:
    rig.tell(ReportRequest())
    (report,) = [m for m in rig.told("supervisor") if isinstance(m, Report)]
    assert report.actor == "TxPacer"
    assert isinstance(report.counts, PacerReport)
    return report.counts


def test_the_carrier_gets_exactly_what_twilio_wants(rig: Rig, link: CarrierTape) -> None:
    rig.tell(STARTED, play(AUDIO[:200]), AudioComplete("r1"))
    rig.run(until=1.0)
    tail = AUDIO[160:200] + b"\xff" * 120
    media = [base64.b64encode(frame).decode() for frame in (AUDIO[:160], tail)]
    base = {"streamSid": STREAM_SID}
    assert written(link) == [
        ("send", {"event": "mark", **base, "mark": {"name": "g0-r0-000000"}}),
        ("send_media", {"event": "media", **base, "media": {"payload": media[0]}}),
        ("send", {"event": "mark", **base, "mark": {"name": "g0-r1-000020"}}),
        ("send_media", {"event": "media", **base, "media": {"payload": media[1]}}),
        ("send", {"event": "mark", **base, "mark": {"name": "g0-r1-000025"}}),
    ]


def test_nothing_is_written_before_the_stream_has_a_name(rig: Rig, link: CarrierTape) -> None:
    rig.tell(play(), AudioComplete("r1"))
    rig.run(until=2.0)
    assert link.tape == []
    rig.tell(STARTED)
    rig.run(until=4.0)
    assert audio_of(link) == AUDIO


def test_frames_leave_on_the_grid_after_the_lead(rig: Rig, link: CarrierTape) -> None:
    rig.tell(STARTED, play(), AudioComplete("r1"))
    rig.run(until=2.0)
    times = [at for at, _ in rig.told_at("detector", FrameSent)]
    assert len(times) == 50
    assert times[:6] == [0.0] * 6, "100 ms of lead and the frame that plays now"
    gaps = [after - before for before, after in itertools.pairwise(times[5:])]
    assert gaps == pytest.approx([0.020] * 44)
    assert audio_of(link) == AUDIO


def test_the_detector_is_told_what_was_sent(rig: Rig, link: CarrierTape) -> None:
    rig.tell(STARTED, play(), AudioComplete("r1"))
    rig.run(until=2.0)
    assert b"".join(frame.payload for frame in rig.told("detector")) == audio_of(link)


def test_an_interruption_clears_first_and_tells_then(rig: Rig, link: CarrierTape) -> None:
    rig.tell(STARTED, play(AUDIO * 3))
    rig.run(until=1.0)
    sent = len(link.tape)
    rig.tell(SpeechOnset(0.9, 3000))
    assert written(link)[sent:] == [("send_first", {"event": "clear", "streamSid": STREAM_SID})]
    assert rig.told("bridge") == [Interrupted(1, 1, "r1")]
    rig.run(until=1.3)
    assert len(link.tape) == sent + 1, "not a frame more"


def test_confirmed_speech_tells_what_was_heard(rig: Rig, link: CarrierTape) -> None:
    rig.tell(STARTED, play(AUDIO * 3))
    rig.run(until=1.0)
    rig.tell(SpeechOnset(0.9, 3000), SpeechConfirmed(0.9))
    assert rig.told("bridge")[1:] == [BargeInConfirmed(1, (HeardItem("i1", 0, 1000),))]
    assert link.tape[-1][0] == "send_first"


def test_a_cough_is_taken_back_and_the_audio_goes_on_at_the_sample(
    rig: Rig, link: CarrierTape
) -> None:
    audio = AUDIO * 2
    rig.tell(STARTED, play(audio), AudioComplete("r1"))
    rig.run(until=0.91)
    rig.tell(SpeechOnset(0.81, 3000), SpeechEnded(0.81))
    before = audio_of(link)
    rig.run(until=4.0)
    assert rig.told("bridge") == [Interrupted(1, 1, "r1"), BargeInDismissed(), ResponseHeard("r1")]
    after = audio_of(link)[len(before) :]
    heard = 8 * 910
    assert after[: len(audio) - heard] == audio[heard:]
    assert before[:heard] == audio[:heard]


def test_speech_over_protected_audio_is_noted_and_changes_nothing(
    rig: Rig, link: CarrierTape
) -> None:
    rig.tell(STARTED, play(protected=True), AudioComplete("r1"))
    rig.run(until=0.5)
    rig.tell(SpeechOnset(0.4, 3000), SpeechConfirmed(0.4), SpeechEnded(0.4))
    rig.run(until=2.0)
    assert audio_of(link) == AUDIO
    assert rig.told("bridge") == [CallerSpoke(1), ResponseHeard("r1")]
    assert [onset.outcome for onset in report(rig).ledger] == [Outcome.GUARDED]


def test_speech_in_silence_is_passed_on_once_it_is_sure(rig: Rig, link: CarrierTape) -> None:
    rig.tell(STARTED, SpeechOnset(0.0, 3000))
    assert rig.told("bridge") == []
    rig.tell(SpeechConfirmed(0.0), SpeechEnded(0.0))
    assert rig.told("bridge") == [CallerSpoke(1)]
    assert [how for how, *_ in link.tape] == ["send"], "the probe; nothing is cleared"


def test_the_end_of_a_response_is_told_when_it_was_heard(rig: Rig, link: CarrierTape) -> None:
    rig.tell(STARTED, play(), AudioComplete("r1"))
    rig.run(until=2.0)
    ((at, _),) = rig.told_at("bridge", ResponseHeard)
    assert at == pytest.approx(1.0)
    assert link.tape


def test_a_lagging_carrier_delays_what_counts_as_heard(rig: Rig, link: CarrierTape) -> None:
    rig.tell(STARTED, MarkEchoed("g0-r0-000000"))  # the probe: no round trip to speak of
    rig.tell(play(), AudioComplete("r1"))
    rig.run(until=0.27)
    rig.tell(MarkEchoed("g0-r1-000020"))  # a quarter of a second behind
    rig.run(until=3.0)
    ((at, _),) = rig.told_at("bridge", ResponseHeard)
    assert at == pytest.approx(1.25)
    assert link.tape


def test_a_drain_plays_what_is_there_and_the_farewell_and_says_so(
    rig: Rig, link: CarrierTape
) -> None:
    farewell = b"\x55" * 400
    rig.tell(STARTED, play(AUDIO[:1000]), DrainRequest(farewell))
    assert rig.told("supervisor") == []
    rig.run(until=1.0)
    assert rig.told("supervisor") == [Drained()]
    assert audio_of(link) == AUDIO[:1000].ljust(1120, b"\xff") + farewell.ljust(480, b"\xff")
    assert report(rig).own_audio_bytes == 400


def test_a_drain_with_nothing_to_say_is_over_at_once(rig: Rig, link: CarrierTape) -> None:
    rig.tell(STARTED, DrainRequest(b""))
    assert rig.told("supervisor") == [Drained()]
    assert link.tape[1:] == []


def test_a_farewell_without_a_stream_cannot_be_heard_and_is_no_crash(
    rig: Rig, link: CarrierTape
) -> None:
    rig.tell(DrainRequest(b"\x55" * 400))
    rig.run(until=1.0)
    assert link.tape == []
    assert rig.told("supervisor") == []


def test_closing_goes_to_the_socket(rig: Rig, link: CarrierTape) -> None:
    rig.tell(STARTED, CloseSocket(1011, "crashed"))
    assert link.tape[-1] == ("close", 1011, "crashed")


def test_the_watchdog_hears_of_playout_and_its_requests_are_answered(
    rig: Rig, link: CarrierTape
) -> None:
    rig.tell(STARTED, play(AUDIO * 2))
    assert rig.told("watchdog") == [StateChanged(Owner.PLAYOUT, "playing", 1)]
    rig.tell(ResetRequest(Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED, 1))
    rig.tell(ResetRequest(Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED, 0))
    assert rig.told("watchdog") == [
        ResetGranted(Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED),
        ResetRefused(Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED, Refusal.VERSION_MOVED),
    ]
    rig.run(until=3.0)
    states = [m.state for m in rig.told("watchdog")]
    assert states == ["playing", "idle"]
    assert link.tape


def test_what_never_left_our_own_queue_is_counted_as_not_sent(rig: Rig) -> None:
    link = place(rig, unsent=3)
    rig.tell(STARTED, play())
    rig.run(until=0.5)
    rig.tell(SpeechOnset(0.4, 3000), OnsetDebounced(0.5, 700))
    got = report(rig)
    assert got.unsent_frames == 3
    assert got.transmission.frames == len(audio_of(link)) // 160
    assert got.transmission.first_chunk_bytes == 160
    assert got.transmission.onsets_debounced == 1
    assert [onset.outcome for onset in got.ledger] == [Outcome.PENDING]
    playout = got.playout
    balance = playout.sent_bytes - playout.returned_bytes + playout.flushed_bytes
    assert balance + got.queued_bytes == playout.received_bytes == len(AUDIO)


def test_a_report_of_a_call_in_which_nothing_happened_is_all_zeros(
    rig: Rig, link: CarrierTape
) -> None:
    assert report(rig) == PacerReport()
    assert link.tape == []


def test_one_that_begins_anew_clears_what_the_carrier_holds_and_plays_nothing_outdated(
    rig: Rig, link: CarrierTape
) -> None:
    rig.tell(STARTED, play(AUDIO * 3))
    rig.run(until=0.91)
    rig.tell(SpeechOnset(0.81, 3000), SpeechConfirmed(0.81), play(AUDIO, generation=1))
    rig.run(until=1.5)
    before = report(rig)
    rig.tell(play(7, generation=1))  # type: ignore[arg-type] # nothing it can take
    rig.tell(play(AUDIO, generation=1))
    sent = len(link.tape)
    farewell = b"\x55" * 480
    rig.tell(BeginAnew((STARTED,)), DrainRequest(farewell), MarkEchoed("g1-r2-000200"))
    rig.run(until=3.0)
    (crashed, drained) = [
        m for m in rig.told("supervisor") if isinstance(m, ActorCrashed | Drained)
    ]
    assert isinstance(crashed.counts, PacerReport)
    assert replace(crashed.counts, hearing=before.hearing) == before
    assert drained == Drained()
    written_since = [message for _, message in written(link)[sent:]]
    assert [message["event"] for message in written_since[:2]] == ["clear", "mark"]
    marks = [m["mark"]["name"] for m in written_since if m["event"] == "mark"]
    assert {name.split("-")[0] for name in marks} == {"g2"}, "above all of the one before"
    media = [m["media"]["payload"] for m in written_since if m["event"] == "media"]
    assert b"".join(map(base64.b64decode, media)) == farewell
    got = report(rig)
    assert got.playout.stale_bytes == len(AUDIO)
    assert got.playout.marks_unknown == 1
    assert got.transmission.clears == 1
    assert got.own_audio_bytes == 480
