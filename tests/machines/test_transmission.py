from __future__ import annotations

import random
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callengine.audio.g711 import FRAME_BYTES, FRAME_MS, FRAME_S, SILENCE_BYTE
from callengine.machines.onsets import MAX_LEDGER, Onset, Outcome
from callengine.machines.playout import FRAMES_PER_MARK
from callengine.machines.transmission import FAREWELL, LAST_ECHO_S, MAX_LATE_TIMES, Transmission
from callengine.machines.transmission_terms import Action, Event, SendClear, SendMark, SendMedia
from callengine.messages import (
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallerSpoke,
    DeadlineReached,
    Drained,
    DrainRequest,
    FrameSent,
    HeardItem,
    Interrupted,
    MarkEchoed,
    ModelHeardSpeech,
    OnsetDebounced,
    Owner,
    PlayAudio,
    Refusal,
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

if TYPE_CHECKING:
    from collections.abc import Callable

LEAD_S = 0.100
WAIT_S = 0.500
START = 100.0
STARTED = StreamStarted("MZ1", "CA1", {})
DUE = DeadlineReached()
MODEL = ModelHeardSpeech()

T = TypeVar("T")


def sound(size: int, first: int = 0) -> bytes:
    """Bytes that tell where they are, none of them silence."""
    return bytes((n * 31 + n // 251) % 255 for n in range(first, first + size))


def onset(at: float, level_rms: int = 2000) -> SpeechOnset:
    return SpeechOnset(at, level_rms)


@dataclass
class Line:
    """A machine, its clock, and all that it did."""

    lead_s: float = LEAD_S
    now: float = START
    log: list[tuple[float, Action]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = Transmission(
            lead_s=self.lead_s, mark_every_frames=FRAMES_PER_MARK, false_trigger_s=WAIT_S
        )

    def tell(self, *events: Event) -> list[Action]:
        done: list[Action] = []
        for event in events:
            done += self.machine.handle(event, self.now)
        self.log += [(self.now, action) for action in done]
        return done

    def run(self, seconds: float, lateness: Callable[[], float] = lambda: 0.0) -> list[Action]:
        """Wake the machine whenever it wants, or a little late."""
        end = self.now + seconds
        done: list[Action] = []
        while (due := self.machine.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due + lateness())
            done += self.tell(DUE)
            after = self.machine.next_deadline()
            assert after is None or after > self.now, "waking again at once would be a busy loop"
        self.now = max(self.now, end)
        return done

    def play(
        self, audio: bytes, response: str = "r1", *, generation: int | None = None
    ) -> list[Action]:
        current = self.machine.playout.generation
        which = current if generation is None else generation
        return self.tell(PlayAudio(response, f"{response}-i1", 0, audio, which))

    def sent(self) -> bytes:
        return b"".join(media.payload for media in of(SendMedia, self.actions()))

    def sent_at(self) -> list[float]:
        return [at for at, action in self.log if isinstance(action, SendMedia)]

    def actions(self) -> list[Action]:
        return [action for _, action in self.log]

    def onsets(self) -> list[Onset]:
        return list(self.machine.onsets.ledger)

    def balance(self) -> int:
        playout, counts = self.machine.playout, self.machine.playout.counts
        return counts.received_bytes - (
            counts.sent_bytes
            - counts.returned_bytes
            + playout.queued_bytes
            + counts.flushed_bytes
            + counts.stale_bytes
            + counts.overflow_bytes
        )


def of(kind: type[T], actions: list[Action]) -> list[T]:
    return [action for action in actions if isinstance(action, kind)]


def but_reports(actions: list[Action]) -> list[Action]:
    return [action for action in actions if not isinstance(action, StateChanged)]


def started(lead_s: float = LEAD_S) -> Line:
    line = Line(lead_s)
    line.tell(STARTED)
    return line


def talking(seconds: float = 10.0, *, for_s: float = 1.0) -> Line:
    """The AI has been audible for so long; the response goes on."""
    line = started()
    line.play(sound(round(seconds * 8000)))
    line.run(for_s)
    return line


# ---- sending


def test_nothing_is_sent_before_the_carrier_named_the_stream() -> None:
    """C-T 2."""
    line = Line()
    assert line.play(sound(8000)) == []
    assert line.machine.next_deadline() is None
    assert line.run(5) == []
    assert line.machine.handle(DUE, line.now) == []
    first, media, *_ = line.tell(STARTED)
    assert first == SendMark("g0-r0-000000"), "it is echoed at once: nothing was queued before it"
    assert media == SendMedia(sound(160))
    assert len(of(SendMedia, line.actions())) == 6
    counts = line.machine.counts
    assert (counts.late_frames, counts.schedule_resets, counts.max_lateness_ms) == (0, 0, 0)


def test_the_stream_starts_once() -> None:
    line = started()
    assert line.tell(STARTED) == []


def test_the_detector_is_told_every_frame_that_left() -> None:
    line = talking()
    assert [told.payload for told in of(FrameSent, line.actions())] == [
        media.payload for media in of(SendMedia, line.actions())
    ]


@pytest.mark.parametrize("size", [1, 159, 160, 161, 1000, 4133, 65_536])
def test_l11_every_frame_has_160_bytes_whatever_the_deltas(size: int) -> None:
    """C-A 46. From the first frame on, and only the tail of the response is padded with 0xFF."""
    line = started()
    audio = sound(max(5 * size, 2000) + 3)
    for at in range(0, len(audio), size):
        line.play(audio[at : at + size])
        line.run(0.0001)
    line.play(b"")
    line.tell(AudioComplete("r1"))
    line.run(60)
    assert {len(media.payload) for media in of(SendMedia, line.actions())} == {FRAME_BYTES}
    assert line.sent() == audio.ljust(len(line.sent()), SILENCE_BYTE)
    assert len(line.sent()) - len(audio) < FRAME_BYTES
    assert line.machine.counts.first_chunk_bytes == FRAME_BYTES
    assert line.machine.counts.frames == len(line.sent()) // FRAME_BYTES
    assert of(ResponseHeard, line.actions()) == [ResponseHeard("r1")]
    assert line.machine.next_deadline() is None
    assert line.balance() == 0


def test_the_grid_is_absolute_over_10000_frames_under_jitter() -> None:
    source = random.Random(3)
    line = started()
    line.play(sound(10_000 * FRAME_BYTES))
    line.run(200, lambda: source.uniform(0, 0.015))
    left_at = line.sent_at()
    assert len(left_at) == 10_000
    for frame, at in enumerate(left_at):
        assert -1e-6 <= at - max(START + frame * FRAME_S - LEAD_S, START) <= 0.0151
    counts = line.machine.counts
    assert (counts.late_frames, counts.schedule_resets) == (0, 0)
    assert counts.max_lateness_ms == pytest.approx(15, abs=0.1)


@pytest.mark.parametrize(
    ("stall_s", "late", "resets"), [(0.015, 0, 0), (0.065, 3, 0), (0.150, 1, 0), (0.250, 0, 1)]
)
def test_late_frames_and_resets_are_counted_apart(stall_s: float, late: int, resets: int) -> None:
    line = talking()
    due = line.machine.next_deadline()
    assert due is not None
    line.now = due + stall_s
    assert len(of(SendMedia, line.tell(DUE))) <= LEAD_S / FRAME_S + 1
    line.run(1)
    counts = line.machine.counts
    assert (counts.late_frames, counts.schedule_resets) == (late, resets)
    assert counts.max_lateness_ms == pytest.approx(stall_s * 1000)


def test_every_frame_is_in_the_histogram_of_lateness() -> None:
    """After a stall of 67 ms the frames behind are 47, 27 and 7 ms late."""
    line = talking()
    line.run(0.2)
    counts = line.machine.counts
    assert counts.lateness == {1.0: counts.frames}
    due = line.machine.next_deadline()
    assert due is not None
    line.now = due + 0.067
    before = counts.frames
    line.tell(DUE)
    assert counts.frames == before + 4
    assert counts.lateness == {1.0: before, 10.0: 1, 50.0: 2, 200.0: 1}
    line.run(1)
    assert counts.lateness.total() == counts.frames


def test_a_source_that_runs_dry_is_neither_late_nor_a_reset() -> None:
    """C-A 47: 0.7 times real time, and a stall of 3 s in mid-sentence."""
    line = started()
    for n in range(100):
        line.play(sound(160, n * 160))
        line.run(3 if n == 50 else FRAME_S / 0.7)
    assert line.sent() == sound(16_000)
    counts = line.machine.counts
    assert (counts.late_frames, counts.schedule_resets) == (0, 0)


def test_a_tail_that_becomes_complete_late_is_sent_then() -> None:
    line = started()
    line.play(sound(200))
    line.run(5)
    assert len(line.sent()) == 160
    assert len(of(SendMedia, line.tell(AudioComplete("r1")))) == 1
    assert line.machine.counts.schedule_resets == 0


def test_a_response_is_reported_heard_when_it_was() -> None:
    line = started()
    line.play(sound(1600))
    line.run(5)
    assert of(ResponseHeard, line.actions()) == []
    assert of(ResponseHeard, line.tell(AudioComplete("r1"))) == [ResponseHeard("r1")]
    line.play(sound(1600), "r2")
    line.tell(AudioComplete("r2"))
    assert of(ResponseHeard, line.run(0.199)) == []
    assert of(ResponseHeard, line.run(0.002)) == [ResponseHeard("r2")]


def test_echoed_marks_move_what_was_heard() -> None:
    line = started()
    line.tell(MarkEchoed("g0-r0-000000"))
    line.play(sound(1600))
    line.tell(AudioComplete("r1"))
    line.run(0.150)
    line.tell(MarkEchoed("g0-r1-000020"))
    assert line.machine.playout.heard_at == pytest.approx(START + 0.2 + 0.130)
    assert line.machine.playout.counts.marks_heard == 2


# ---- barge-in


def test_a_barge_in_step_by_step() -> None:
    """Design 3.1: silence first, then the snapshot to the model; confirmed by speech."""
    line = talking()
    line.now = START + 1.0101
    line.tell(DUE)
    done = line.tell(onset(line.now - 0.1))
    assert but_reports(done) == [SendClear(), Interrupted(1, 1, "r1")]
    assert of(StateChanged, done) == [StateChanged(Owner.PLAYOUT, "idle", 3)]
    (entry,) = line.onsets()
    assert entry == Onset(
        onset_at=line.now - 0.1,
        decided_at=line.now,
        outcome=Outcome.PENDING,
        level_rms=2000,
        barge_in=1,
        response_id="r1",
        heard=(HeardItem("r1-i1", 0, 1010),),
        flushed_frames=(80_000 - 8080) // FRAME_BYTES,
    )
    assert line.run(0.199) == []
    confirmed_at = line.now
    assert line.tell(SpeechConfirmed(entry.onset_at)) == [BargeInConfirmed(1, entry.heard)]
    assert (entry.outcome, entry.settled_at) == (Outcome.ACTED, confirmed_at)
    assert line.run(60) == []
    counts = line.machine.counts
    assert (counts.barge_in_events, counts.clears, counts.false_triggers) == (1, 1, 0)
    assert line.balance() == 0


def test_the_snapshot_is_taken_at_the_interruption_and_not_at_its_confirmation() -> None:
    line = talking()
    line.tell(onset(line.now))
    line.run(0.3)
    line.play(sound(1600), "r2")
    line.run(0.1)
    (confirmed,) = of(BargeInConfirmed, line.tell(MODEL))
    assert [item.item_id for item in confirmed.heard] == ["r1-i1"]
    assert confirmed.heard[0].heard_ms == pytest.approx(1000, abs=1)


def test_the_model_hearing_speech_too_confirms() -> None:
    line = talking()
    line.tell(onset(line.now))
    assert len(of(BargeInConfirmed, line.tell(MODEL))) == 1
    assert line.tell(MODEL) == []
    assert line.onsets()[0].outcome is Outcome.ACTED


def test_a_caller_who_is_still_loud_at_the_deadline_confirms() -> None:
    line = talking()
    line.tell(onset(line.now))
    assert of(BargeInConfirmed, line.run(0.499)) == []
    assert len(of(BargeInConfirmed, line.run(0.002))) == 1
    assert line.onsets()[0].outcome is Outcome.ACTED


def test_a_false_trigger_is_dismissed_and_resumes_at_the_exact_byte() -> None:
    """Design 3.1, 7: quiet again, and after 500 ms no one else heard speech."""
    line = talking()
    line.now = START + 1.0101
    line.tell(DUE, onset(line.now))
    sent = len(line.sent())
    line.run(0.3)
    line.tell(SpeechEnded(line.now))
    assert line.run(0.199) == []
    done = line.run(0.002)
    assert done[0] == BargeInDismissed()
    line.tell(AudioComplete("r1"))
    line.run(60)
    rest = line.sent()[sent:]
    # 1010.1 ms were heard: the sample that was being played is played again.
    assert rest == sound(80_000)[8080:].ljust(len(rest), SILENCE_BYTE)
    (entry,) = line.onsets()
    assert entry.outcome is Outcome.RESUMED
    assert entry.settled_at == pytest.approx(START + 1.0101 + WAIT_S)
    assert line.machine.counts.false_triggers == 1
    assert of(ResponseHeard, line.actions()) == [ResponseHeard("r1")]
    assert line.machine.counts.late_frames == line.machine.counts.schedule_resets == 0
    assert line.balance() == 0


def test_a_false_trigger_between_two_pieces_of_a_response_resumes_it() -> None:
    line = talking(1.0, for_s=2.0)  # all that came was heard; the model has not ended the response
    line.tell(onset(line.now), SpeechEnded(line.now))
    assert of(BargeInDismissed, line.run(1)) == [BargeInDismissed()]
    assert line.onsets()[0].outcome is Outcome.RESUMED
    line.play(sound(160), "r1")
    line.run(1)
    assert line.sent() == sound(8000) + sound(160)


def test_a_false_trigger_with_nothing_left_to_resume() -> None:
    line = talking(1.0, for_s=2.0)
    line.tell(onset(line.now), AudioComplete("r1"), SpeechEnded(line.now))
    assert of(BargeInDismissed, line.run(1)) == [BargeInDismissed()]
    assert line.onsets()[0].outcome is Outcome.FALSE
    assert line.sent() == sound(8000)


def test_audio_in_mailboxes_is_kept_in_limbo_while_the_verdict_is_open() -> None:
    line = talking()
    line.tell(onset(line.now), SpeechEnded(line.now))
    sent = len(line.sent())
    line.play(sound(1600, 80_000), generation=0)
    assert line.run(0.4) == []
    line.run(60)
    assert line.sent()[sent:].endswith(sound(1600, 80_000))
    assert line.machine.playout.counts.stale_bytes == 0


@pytest.mark.edge_case(80)
def test_audio_in_mailboxes_is_dropped_and_counted_once_confirmed() -> None:
    line = talking()
    line.tell(onset(line.now), MODEL)
    line.play(sound(1600), generation=0)
    assert line.run(10) == []
    assert line.machine.playout.counts.stale_bytes == 1600
    assert line.balance() == 0


@pytest.mark.edge_case(24)
def test_audio_of_the_new_generation_is_played_at_once() -> None:
    """C-T 24."""
    line = talking()
    line.tell(onset(line.now), MODEL)
    done = line.play(sound(1600), "r2")
    assert len(of(SendMedia, done)) == 6, "with a full lead: the carrier holds nothing"
    line.run(1)
    assert line.sent().endswith(sound(1600))


@pytest.mark.edge_case(77)
def test_l6_interrupting_works_while_audio_is_heard_although_the_model_is_done() -> None:
    """C-X 77."""
    line = talking()
    line.tell(AudioComplete("r1"))
    assert SendClear() in line.tell(onset(line.now))


def test_l6_and_while_the_last_of_it_is_only_at_the_carrier() -> None:
    line = started()
    line.play(sound(640))
    line.tell(AudioComplete("r1"))
    assert line.machine.playout.queued_bytes == 0
    line.now += 0.0301
    line.tell(onset(line.now))
    assert line.onsets()[0].heard == (HeardItem("r1-i1", 0, 30),)


def test_several_items_and_responses_are_told_at_once() -> None:
    """L3: items not reached at 0."""
    line = started()
    line.tell(PlayAudio("r1", "a", 0, sound(800), 0), PlayAudio("r1", "b", 0, sound(800), 0))
    line.tell(AudioComplete("r1"), PlayAudio("r2", "c", 0, sound(800), 0))
    line.run(0.1501)
    line.tell(onset(line.now))
    assert line.onsets()[0].heard == (
        HeardItem("a", 0, 100),
        HeardItem("b", 0, 50),
        HeardItem("c", 0, 0),
    )


def test_l9_a_protected_greeting_is_not_interrupted_and_the_onset_is_kept() -> None:
    line = started()
    line.tell(PlayAudio("r1", "i1", 0, sound(8000), 0, protected=True))
    line.run(0.5)
    told = line.tell(onset(line.now), SpeechConfirmed(line.now), MODEL)
    assert told == [CallerSpoke(1)], "so that nothing behind it is said over him"
    line.tell(AudioComplete("r1"))
    line.run(5)
    assert line.sent() == sound(8000)
    assert [entry.outcome for entry in line.onsets()] == [Outcome.GUARDED]
    counts = line.machine.counts
    assert (counts.barge_ins_guarded, counts.barge_in_events, counts.clears) == (1, 0, 0)


def test_what_waits_behind_a_protected_greeting_is_not_said_over_the_caller() -> None:
    line = started()
    line.tell(PlayAudio("greeting", "i1", 0, sound(8000), 0, protected=True))
    line.tell(AudioComplete("greeting"))
    line.play(sound(8000), "r2")
    line.run(0.2)
    line.tell(onset(line.now))
    assert line.tell(SpeechConfirmed(line.now)) == [CallerSpoke(1)]
    line.play(sound(800, 8000), "r2", generation=0)  # was under way
    line.run(3.0)
    assert line.sent() == sound(8000)
    assert ResponseHeard("greeting") in line.actions()
    assert line.machine.playout.speaking is None
    assert SendClear() not in line.actions()
    assert line.balance() == 0
    line.play(sound(160), "r3")
    line.run(0.1)
    assert line.sent() == sound(8000) + sound(160)


def test_what_has_begun_behind_a_protected_greeting_is_interrupted_when_that_is_over() -> None:
    line = started()
    line.tell(PlayAudio("greeting", "i1", 0, sound(8000), 0, protected=True))
    line.tell(AudioComplete("greeting"))
    line.play(sound(8000), "r2")
    line.run(0.95)
    line.tell(onset(line.now))
    assert of(CallerSpoke, line.tell(SpeechConfirmed(line.now))) == []
    line.run(0.5)
    heard = of(BargeInConfirmed, line.actions())[0].heard
    assert ResponseHeard("greeting") in line.actions()
    assert [item.item_id for item in heard] == ["r2-i1"]
    assert heard[0].heard_ms <= FRAME_MS
    assert line.machine.playout.speaking is None
    assert line.balance() == 0


def test_l9_a_drain_is_heard_to_its_end_whatever_the_caller_says() -> None:
    line = started()
    line.play(sound(1600))
    line.tell(DrainRequest(sound(800)))
    line.tell(onset(line.now), SpeechConfirmed(line.now))
    line.run(1.0)
    assert line.sent() == sound(1600) + sound(800)


def test_protected_audio_is_played_whatever_its_generation() -> None:
    line = started()
    line.tell(onset(line.now), SpeechConfirmed(line.now))
    line.tell(PlayAudio("r1", "i1", 0, sound(160), 0, protected=True))
    assert line.sent() == sound(160)


def test_an_onset_in_silence_is_an_ordinary_turn() -> None:
    """C-X 76."""
    line = started()
    assert line.tell(onset(line.now)) == []
    (entry,) = line.onsets()
    assert (entry.outcome, entry.barge_in, entry.response_id) == (Outcome.UNOPPOSED, None, None)
    assert line.tell(SpeechEnded(line.now)) == []


def test_confirmed_speech_in_silence_outdates_an_answer_under_way() -> None:
    line = started()
    line.tell(onset(line.now))
    assert line.tell(SpeechConfirmed(line.now)) == [CallerSpoke(1)]
    assert of(SendMedia, line.play(sound(1600), generation=0)) == []
    assert line.machine.playout.counts.stale_bytes == 1600
    assert of(SendMedia, line.play(sound(1600), "r2", generation=1)) != []
    assert SendClear() not in line.actions()


@pytest.mark.parametrize("evidence", [SpeechConfirmed(START), MODEL])
def test_speech_that_began_in_silence_interrupts_without_doubt(
    evidence: SpeechConfirmed | ModelHeardSpeech,
) -> None:
    line = started()
    line.tell(onset(line.now))
    line.play(sound(8000))
    line.run(0.1001)
    done = line.tell(evidence)
    heard = (HeardItem("r1-i1", 0, 100),)
    assert but_reports(done) == [
        SendClear(),
        Interrupted(1, 1, "r1"),
        BargeInConfirmed(1, heard),
    ]
    acted = line.onsets()[-1]
    assert (acted.outcome, acted.barge_in, acted.heard) == (Outcome.ACTED, 1, heard)
    assert acted.onset_at == (START if isinstance(evidence, SpeechConfirmed) else line.now)
    assert not line.machine.playout.in_limbo


def test_a_debounced_onset_is_recorded_only_against_the_ai() -> None:
    line = started()
    line.tell(OnsetDebounced(line.now, 900))
    assert line.onsets() == []
    line.play(sound(8000))
    line.tell(OnsetDebounced(line.now, 900))
    (entry,) = line.onsets()
    assert (entry.outcome, entry.level_rms, entry.onset_at) == (Outcome.DEBOUNCED, 900, START)
    assert line.machine.counts.onsets_debounced == 2
    assert SendClear() not in line.actions()


def test_barge_ins_are_numbered() -> None:
    line = started()
    for n in (1, 2, 3):
        line.play(sound(8000), f"r{n}")
        assert Interrupted(n, n, f"r{n}") in line.tell(onset(line.now))
        line.tell(MODEL)
    assert [entry.barge_in for entry in line.onsets()] == [1, 2, 3]


def test_every_onset_has_its_entry_in_the_ledger() -> None:
    line = talking()
    line.tell(onset(line.now), SpeechEnded(line.now))
    line.run(0.2)
    line.tell(onset(line.now))
    assert [entry.outcome for entry in line.onsets()] == [Outcome.PENDING, Outcome.CONTINUED]


def test_one_onset_has_one_entry_in_the_ledger() -> None:
    line = started()
    line.tell(onset(line.now))
    line.play(sound(8000))
    line.tell(SpeechConfirmed(START))
    assert [entry.outcome for entry in line.onsets()] == [Outcome.ACTED]


def test_the_entry_of_an_interruption_stays_when_its_speech_interrupts_again() -> None:
    """The model heard it too, began to answer at once, and the caller goes on speaking."""
    line = talking()
    line.tell(onset(line.now), MODEL)
    line.play(sound(8000), "r2", generation=1)
    line.run(0.2)
    line.tell(SpeechConfirmed(line.onsets()[0].onset_at))
    assert [entry.barge_in for entry in line.onsets()] == [1, 2]


def test_the_ledger_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_LEDGER == 500
    line = started()
    for _ in range(MAX_LEDGER + 5):
        line.tell(onset(line.now))
    assert len(line.onsets()) == MAX_LEDGER


def test_times_of_late_frames_are_kept_and_bounded() -> None:
    line = talking(60)
    due = line.machine.next_deadline()
    assert due is not None
    line.now = due + 0.025
    line.tell(DUE)
    assert list(line.machine.late_at) == [line.now]
    line.run(50, lambda: 0.025)
    assert len(line.machine.late_at) <= MAX_LATE_TIMES


# ---- drain


def test_a_drain_plays_what_is_queued_and_then_the_farewell() -> None:
    """C-X 82."""
    line = started()
    line.play(sound(1000))
    line.run(0.01)
    farewell = sound(1700, 50_000)
    assert of(Drained, line.tell(DrainRequest(farewell))) == []
    assert of(Drained, line.run(0.349)) == []
    assert line.run(0.002) == [ResponseHeard(FAREWELL), Drained()]
    assert line.sent() == sound(1000).ljust(1120, SILENCE_BYTE) + farewell.ljust(1760, SILENCE_BYTE)
    assert line.machine.own_audio_bytes == 1700
    assert line.run(60) == []
    assert line.tell(DUE) == [], "it is said once"


def probed() -> Line:
    """The line has echoed the probe at once."""
    line = started()
    line.tell(MarkEchoed(of(SendMark, line.actions())[0].name))
    return line


def test_a_drain_waits_for_the_echo_of_its_last_mark() -> None:
    """On a line that varies the farewell is under way for longer than the clock thinks."""
    line = probed()
    line.tell(DrainRequest(sound(1600)))
    line.run(0.4)
    assert of(Drained, line.actions()) == []
    *_, last = of(SendMark, line.actions())
    assert Drained() in line.tell(MarkEchoed(last.name)), "also if another was lost"


def test_a_drain_does_not_wait_for_ever_for_an_echo() -> None:
    line = probed()
    line.tell(DrainRequest(sound(1600)))
    assert of(Drained, line.run(0.2 + LAST_ECHO_S - 0.001)) == []
    assert of(Drained, line.run(0.002)) == [Drained()]


def test_a_drain_in_silence_is_over_at_once() -> None:
    line = started()
    assert line.tell(DrainRequest(b"")) == [Drained()]
    assert line.machine.own_audio_bytes == 0


def test_a_drain_without_farewell_ends_with_what_is_queued() -> None:
    line = started()
    line.play(sound(100))
    assert of(Drained, line.tell(DrainRequest(b""))) == []
    assert of(Drained, line.run(0.021)) == [Drained()]


def test_the_farewell_cannot_be_interrupted_away() -> None:
    """Nor what is played before it: there is no model any more that could answer."""
    line = talking(1.5)
    line.tell(DrainRequest(sound(1600, 50_000)))
    assert but_reports(line.tell(onset(line.now), SpeechConfirmed(line.now))) == []
    line.run(5)
    assert line.sent() == sound(12_000) + sound(1600, 50_000)
    assert [entry.outcome for entry in line.onsets()] == [Outcome.GUARDED]
    assert of(Drained, line.actions()) == [Drained()]


def test_what_was_flushed_is_not_resumed_into_the_farewell() -> None:
    """It would cut the farewell in two, and its missing tail would keep the drain from ending."""
    line = talking(1.51)
    line.tell(onset(line.now), SpeechEnded(line.now))
    line.run(0.2)
    sent = len(line.sent())
    line.tell(DrainRequest(sound(8000, 50_000)))
    line.run(5)
    assert line.sent()[sent:] == sound(8000, 50_000)
    assert of(Drained, line.actions()) == [Drained()]
    assert line.onsets()[0].outcome is Outcome.FALSE
    assert line.balance() == 0


# ---- watchdog


def reports(line: Line) -> list[tuple[float, str, int]]:
    return [
        (round(at - START, 2), action.state, action.version)
        for at, action in line.log
        if isinstance(action, StateChanged) and action.owner is Owner.PLAYOUT
    ]


def test_playout_reports_its_start_its_progress_each_second_and_its_end() -> None:
    line = started()
    assert reports(line) == []
    line.play(sound(8000 * 2 + 4000))
    line.run(10)
    assert reports(line) == [
        (0.0, "playing", 1),
        (1.0, "playing", 2),
        (2.0, "playing", 3),
        (2.38, "idle", 4),
    ]


def test_without_progress_there_is_no_report() -> None:
    line = talking(for_s=0.5)
    before = reports(line)
    line.now += 0.010
    line.tell(OnsetDebounced(line.now, 700))
    assert reports(line) == before


def request(version: int, reason: ResetReason = ResetReason.PLAYOUT_STALLED) -> ResetRequest:
    return ResetRequest(Owner.PLAYOUT, reason, version)


def test_l10_a_reset_is_granted_for_the_version_that_is_stuck() -> None:
    line = started()
    line.play(sound(80_000))
    line.now += 4  # nobody woke it
    done = line.tell(request(1))
    assert done[0] == ResetGranted(Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED)
    assert len(of(SendMedia, done)) == 6
    counts = line.machine.counts
    assert counts.stuck_recoveries == 1
    assert (counts.late_frames, counts.schedule_resets) == (0, 0), "counted as what it is"
    line.run(20)
    assert line.sent() == sound(80_000)


@pytest.mark.parametrize("version", [0, 1, 3])
def test_l10_a_reset_is_refused_if_the_version_has_moved(version: int) -> None:
    line = talking(for_s=1.5)
    refused = ResetRefused(Owner.PLAYOUT, ResetReason.PLAYOUT_STALLED, Refusal.VERSION_MOVED)
    assert of(ResetRefused, line.tell(request(version))) == [refused]
    assert line.machine.counts.stuck_recoveries == 0


def test_a_reset_is_refused_if_nothing_is_stuck() -> None:
    line = talking(1.0, for_s=5)
    stalled = ResetReason.PLAYOUT_STALLED
    assert line.tell(request(2)) == [ResetRefused(Owner.PLAYOUT, stalled, Refusal.NOT_STUCK)]
    line.play(sound(80_000))
    silent = ResetReason.MODEL_SILENT
    assert of(ResetRefused, line.tell(request(3, silent))) == [
        ResetRefused(Owner.PLAYOUT, silent, Refusal.NOT_STUCK)
    ]
    assert line.machine.counts.stuck_recoveries == 0


# ---- properties

PROTECTED = 254
SPOKEN: list[Event] = [SpeechConfirmed(0.0), SpeechEnded(0.0), MODEL, OnsetDebounced(0.0, 700)]
STEPS = st.one_of(
    st.tuples(
        st.just("audio"),
        st.integers(1, 3),  # response
        st.integers(0, 2),  # how many generations behind
        st.sampled_from([1, 100, 160, 1000, 4000, 16_000]),
    ),
    st.tuples(st.just("protected"), st.sampled_from([160, 3000])),
    st.tuples(st.just("complete"), st.integers(1, 3)),
    st.tuples(st.just("onset")),
    st.tuples(st.just("onset")),
    st.tuples(st.just("spoken"), st.sampled_from(SPOKEN)),
    st.tuples(st.just("echo"), st.integers(0, 1000)),
    st.tuples(st.just("reset"), st.integers(0, 9)),
    st.tuples(st.just("stall"), st.sampled_from([0.05, 0.3])),
    st.tuples(st.just("drain")),
)


def perform(line: Line, step: tuple[object, ...]) -> None:
    match step:
        case ("audio", int(response), int(behind), int(size)):
            generation = max(line.machine.playout.generation - behind, 0)
            line.play(bytes([generation]) * size, f"r{response}", generation=generation)
        case ("protected", int(size)):
            line.tell(PlayAudio("p", "p", 0, bytes([PROTECTED]) * size, 0, protected=True))
        case ("complete", int(response)):
            line.tell(AudioComplete(f"r{response}"))
        case ("onset",):
            line.tell(onset(line.now))
        case ("spoken", event):
            line.tell(event)  # type: ignore[arg-type]
        case ("echo", int(which)):
            marks = of(SendMark, line.actions())
            line.tell(MarkEchoed(marks[which % len(marks)].name if marks else "none"))
        case ("reset", int(version)):
            line.tell(request(version))
        case ("stall", float(seconds)):
            line.now += seconds
        case ("drain",):
            line.tell(DrainRequest(bytes([PROTECTED]) * 320))


def check_sent(line: Line) -> None:
    """L1: after a clear nothing older is written, unless the barge-in was dismissed."""
    oldest, before = 0, 0
    for action in line.actions():
        match action:
            case Interrupted(_, generation, _):
                before, oldest = oldest, generation
            case BargeInDismissed():
                oldest = before
            case CallerSpoke(generation):
                before = oldest = generation
            case SendMedia(payload):
                assert len(payload) == FRAME_BYTES
                audio = set(payload) - {SILENCE_BYTE[0], PROTECTED}
                assert all(generation >= oldest for generation in audio)


def check_barge_ins(line: Line) -> None:
    """L15: actions, counters and ledger tell the same."""
    counts, actions = line.machine.counts, line.actions()
    interrupted = of(Interrupted, actions)
    entries = [entry for entry in line.onsets() if entry.barge_in is not None]
    assert [told.barge_in for told in interrupted] == [entry.barge_in for entry in entries]
    assert len(of(SendClear, actions)) == counts.clears == counts.barge_in_events == len(entries)
    for before, action in pairwise(actions):
        assert isinstance(action, Interrupted) == isinstance(before, SendClear)
    outcomes = [entry.outcome for entry in line.onsets()]
    assert outcomes.count(Outcome.ACTED) == len(of(BargeInConfirmed, actions))
    dismissed = outcomes.count(Outcome.RESUMED) + outcomes.count(Outcome.FALSE)
    assert dismissed == counts.false_triggers == len(of(BargeInDismissed, actions))
    assert outcomes.count(Outcome.GUARDED) == counts.barge_ins_guarded
    assert outcomes.count(Outcome.PENDING) <= 1


@settings(max_examples=300)
@given(
    st.lists(st.tuples(STEPS, st.sampled_from([0.0, 0.013, 0.1, 0.6])), max_size=40),
    st.integers(0, 5),
)
def test_l1_l11_whatever_happens(
    steps: list[tuple[tuple[object, ...], float]], starts_after: int
) -> None:
    line = Line()
    for n, (step, wait_s) in enumerate(steps):
        if n == starts_after:
            line.tell(STARTED)
        if n >= starts_after or step[0] not in {"onset", "spoken"}:  # nobody was heard before
            perform(line, step)
        line.run(wait_s)
        assert line.balance() == 0
        playout = line.machine.playout
        heard = sum(track.heard for track in (*playout._tracks, *playout._limbo))
        assert heard <= playout.counts.sent_bytes - playout.counts.returned_bytes
    check_sent(line)
    check_barge_ins(line)
    line.run(60)
    check_sent(line)
    check_barge_ins(line)
    assert Outcome.PENDING not in {entry.outcome for entry in line.onsets()}
    assert not line.machine.playout.frame_ready or len(steps) <= starts_after


def test_what_was_cut_is_played_before_what_came_while_nobody_was_sure() -> None:
    line = talking()
    line.run(0.5)
    line.tell(onset(line.now), SpeechEnded(line.now))
    sent = len(line.sent())
    line.play(sound(1600, 77), "r2")
    line.tell(AudioComplete("r1"), AudioComplete("r2"))
    line.run(WAIT_S - 0.01)
    assert len(line.sent()) == sent, "nothing is sent while nobody is sure"
    line.run(20.0)
    assert line.sent().rstrip(b"\xff").endswith(sound(1600, 77))
    assert line.balance() == 0


def test_what_came_while_nobody_was_sure_is_not_played_over_the_caller() -> None:
    line = talking()
    line.run(0.5)
    line.tell(onset(line.now))
    sent = len(line.sent())
    line.play(sound(1600, 77), "r2")
    (told,) = of(BargeInConfirmed, line.tell(SpeechConfirmed(START)))
    assert told.generation == 2
    line.run(5.0)
    assert len(line.sent()) == sent
    assert line.balance() == 0


def test_after_the_close_audio_is_counted_and_not_sent() -> None:
    line = talking()
    line.machine.close(line.now)
    sent = len(line.sent())
    line.play(sound(1600, 77), "r2")
    line.run(5.0)
    assert len(line.sent()) == sent
    assert line.balance() == 0


def test_after_the_close_there_is_nothing_to_interrupt() -> None:
    line = talking()
    line.machine.close(line.now)
    assert of(SendClear, line.tell(onset(line.now), SpeechConfirmed(line.now), MODEL)) == []
    assert of(SendClear, line.run(5.0)) == []
    assert (line.machine.counts.clears, line.machine.counts.barge_in_events) == (0, 0)


def test_audio_that_comes_while_draining_does_not_keep_the_call_open() -> None:
    line = talking()
    line.tell(DrainRequest(b""))
    line.play(sound(1600, 77), "r2")
    assert of(Drained, line.run(60.0))
    assert line.balance() == 0


def test_a_response_that_ended_while_nobody_was_sure_is_told_as_heard_at_the_dismissal() -> None:
    line = talking(1.0, for_s=2.0)  # all that came was heard; the model has not ended the response
    line.tell(onset(line.now), SpeechEnded(line.now), AudioComplete("r1"))
    assert but_reports(line.run(1)) == [BargeInDismissed(), ResponseHeard("r1")]
    assert line.machine.next_deadline() is None


@pytest.mark.parametrize("late", [False, True])
def test_the_first_audio_of_a_response_that_was_under_way_at_a_false_alarm_is_played(
    late: bool,
) -> None:
    """A response that had not been heard of at the interruption has no place in limbo yet."""
    line = talking(1.0, for_s=0.5)
    line.tell(AudioComplete("r1"), onset(line.now), SpeechEnded(line.now))
    if late:
        line.run(0.6)
    for part in (sound(160, 8000), sound(160, 8160)):
        line.play(part, "r2", generation=0)
    line.tell(AudioComplete("r2"))
    line.run(10)
    assert line.sent().endswith(sound(8320)[8000 - 160 :])
    assert of(ResponseHeard, line.actions()) == [ResponseHeard("r1"), ResponseHeard("r2")]
    assert line.machine.playout.counts.stale_bytes == 0
    assert line.balance() == 0


@pytest.mark.parametrize("spoke", [False, True])
def test_l1_the_first_audio_of_a_response_that_the_caller_overtook_is_dropped(spoke: bool) -> None:
    line = started() if spoke else talking(1.0, for_s=0.5)
    line.tell(onset(line.now), SpeechConfirmed(line.now))
    sent = len(line.sent())
    line.play(sound(160), "r2", generation=0)
    line.run(10)
    assert len(line.sent()) == sent
    assert line.machine.playout.counts.stale_bytes == 160


# ---- a standstill of ours


def stood_still(size: int, *, after_s: float) -> Line:
    """With marks under way, on a line that echoes them, nothing was done for 1.5 s."""
    line = started()
    line.tell(*echoes(line))
    line.play(sound(size))
    line.run(after_s)
    line.now += 1.5
    return line


def echoes(line: Line) -> list[MarkEchoed]:
    return [MarkEchoed(mark.name) for mark in of(SendMark, line.actions())]


def heard_ms(line: Line) -> list[int]:
    return [item.heard_ms for item in line.machine.playout.hearing]


def test_l3_an_onset_that_is_read_before_late_echoes_does_not_find_the_carrier_stuck() -> None:
    line = stood_still(8000, after_s=0.5)
    line.tell(onset(START + 0.5))
    assert heard_ms(line) == [len(line.sent()) // 8]


def test_l11_echoes_read_after_a_standstill_do_not_make_the_carrier_slow() -> None:
    line = stood_still(8000, after_s=0.5)
    heard_before_ms = len(line.sent()) // 8
    line.tell(DUE, *echoes(line)[1:])
    line.run(0.2)
    line.tell(onset(line.now))
    assert heard_ms(line) == [heard_before_ms + 200]


def test_l11_nor_do_echoes_of_the_end_of_a_reply() -> None:
    line = stood_still(4000, after_s=0.45)
    assert len(line.sent()) == 4000
    line.tell(*echoes(line)[1:], AudioComplete("r1"))
    line.play(sound(4000), "r2")
    line.run(0.2)
    line.tell(onset(line.now))
    assert heard_ms(line) == [200]
