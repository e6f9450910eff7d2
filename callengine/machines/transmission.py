"""Everything that happens to audio on its way out: what TxPacer decides.

It joins the 20 ms grid, the playout ledger and the barge-in, and keeps the record of every onset.
Silence comes first: an interruption clears the carrier before anybody else hears of it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from callengine.audio.g711 import FRAME_BYTES
from callengine.machines.barge_in import LISTENING, BargeIn, Evidence, Floor, Verdict
from callengine.machines.dead_air import DeadAir
from callengine.machines.deadlines import earliest
from callengine.machines.onsets import Onsets, Outcome
from callengine.machines.pacing import ON_TIME, RESET_S, Grid, Punctuality, lateness_bucket_ms
from callengine.machines.playout import Playout
from callengine.machines.transmission_terms import (
    Action,
    Event,
    SendClear,
    SendMark,
    SendMedia,
    TransmissionCounts,
)
from callengine.messages import (
    AnswerOwed,
    AudioComplete,
    BargeInConfirmed,
    BargeInDismissed,
    CallerSpoke,
    DeadlineReached,
    Drained,
    DrainRequest,
    FrameSent,
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
    StateChanged,
    StreamStarted,
)

MAX_LATE_TIMES: Final = 100
"""Times of late frames kept per call, the latest ones."""

PROGRESS_S: Final = 1.0
"""How often moving playout is reported as such."""

LAST_ECHO_S: Final = 0.5
"""By our clock the farewell was heard; on a line that varies its last mark tells better. So much
longer that mark is waited for."""

FAREWELL: Final = "farewell"
FALLBACK: Final = "fallback-{}"
"""The response ids of audio that did not come from the model."""


class Transmission:
    """The outbound half of one call. Nothing is sent before the carrier named the stream.

    One that takes the place of another begins with a `generation` above all of the other's.
    """

    def __init__(
        self,
        *,
        lead_s: float,
        mark_every_frames: int,
        false_trigger_s: float,
        fallback_after_s: float = 2.5,
        generation: int = 0,
    ) -> None:
        self.counts = TransmissionCounts()
        self.onsets = Onsets()
        self.late_at: deque[float] = deque(maxlen=MAX_LATE_TIMES)
        self.playout = Playout(mark_every_frames)
        self.playout.generation = generation
        self._takes_over = generation > 0
        self._wanted_from = generation
        self._grid = Grid(lead_s)
        self._barge_in = BargeIn(false_trigger_s)
        self._dead_air = DeadAir(fallback_after_s)
        self._not_owed: frozenset[str | None] = frozenset()  # responses that are no answer
        self.own_audio_bytes = 0
        self._streaming = False
        self._draining = False
        self._drained_by: float | None = None
        self._overtaken_by: Evidence | None = None
        self._version = 0
        self._reported_at = float("-inf")
        self._reported_frames: int | None = None

    # ---- the machine

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; returns what is to be done, in this order."""
        due_at = self.next_deadline()
        if due_at is not None and now - due_at >= RESET_S:
            self.playout.stood_still(now)
        actions: list[Action] = self._settle(now)
        if self._barge_in.state is not LISTENING or not isinstance(event, DeadlineReached):
            actions += self._take(event, now)  # from the alarm of the next frame nothing is learned
        self._break_silence(now)
        playing = False
        if self._may_send:
            if not self._playing and self.playout.frame_ready:
                self._grid.open(now)
            actions += self._send_due(now)
            playing = self.playout.frame_ready
        actions += self._report(playing, now)
        return actions

    def next_deadline(self) -> float | None:
        """When something is due next."""
        if self._playing and self._streaming:
            return self._grid.due_at  # a frame leaves before the one in front of it was heard
        return earliest(
            self.playout.heard_at,
            self._barge_in.next_deadline(),
            self._dead_air.next_deadline(),
            self._drained_by,
        )

    def close(self, now: float) -> None:
        """The socket is closed: nothing is sent any more, and what still comes is only counted."""
        self.playout.settle(now)
        self._streaming = False

    @property
    def _may_send(self) -> bool:
        """While nobody is sure about a barge-in no frame may be sent: what it cut comes first, if
        it is taken back."""
        return self._streaming and self._barge_in.state is LISTENING

    @property
    def _playing(self) -> bool:
        """There was a frame that may be sent when the last event had been taken, and the watchdog
        was told so. Then no barge-in is open, nobody waits for anything, and nothing is over."""
        return self._reported_frames is not None

    def _take(self, event: Event, now: float) -> list[Action]:
        match event:
            case PlayAudio():
                self._queue(event, now)
            case AnswerOwed():
                self._owe(event)
            case AudioComplete():
                self.playout.complete(event.response_id)
                return self._settle(now)
            case MarkEchoed():
                self.playout.mark_echoed(event.name, now)
                return self._settle(now)
            case StreamStarted():
                return self._start(now)
            case OnsetDebounced():
                self._debounced(event, now)
            case ResetRequest():
                return self._reset(event, now)
            case DrainRequest():
                return self._drain(event.farewell, now)
            case _:
                return self._weigh(event, now)
        return []

    def _start(self, now: float) -> list[Action]:
        if self._streaming:
            return []
        self._streaming = True
        actions: list[Action] = []
        if self._takes_over:  # nobody knows what the carrier still holds of the one before
            self.counts.clears += 1
            actions.append(SendClear())
        actions.append(SendMark(self.playout.probe(now)))
        return actions

    # ---- audio

    def _queue(self, event: PlayAudio, now: float) -> None:
        if not event.audio:
            return
        outdated = event.generation != self.playout.generation and not event.protected
        if outdated or self._draining:
            self.playout.queue_outdated(
                event.response_id,
                event.item_id,
                event.content_index,
                event.audio,
                wanted=event.generation >= self._wanted_from and not self._draining,
            )
            return
        self._settle_by(event.response_id, now)
        self._dead_air.begin_anew()
        self.playout.queue(
            event.response_id,
            event.item_id,
            event.content_index,
            event.audio,
            protected=event.protected,
        )

    def _send_due(self, now: float) -> list[Action]:
        actions: list[Action] = []
        while self._grid.due_at <= now and (frame := self.playout.next_frame(now)) is not None:
            payload, mark = frame
            self._count_frame(len(payload), now)
            actions += [SendMedia(payload), FrameSent(payload)]
            if mark is not None:
                actions.append(SendMark(mark))
        return actions

    def _count_frame(self, size_bytes: int, now: float) -> None:
        counts = self.counts
        if not counts.frames:
            counts.first_chunk_bytes = size_bytes
        counts.frames += 1
        lateness_ms = (now - self._grid.due_at) * 1000
        if lateness_ms > counts.max_lateness_ms:
            counts.max_lateness_ms = lateness_ms
        counts.lateness[lateness_bucket_ms(lateness_ms)] += 1
        punctuality = self._grid.sent(now)
        if punctuality is not ON_TIME:
            counts.late_frames += punctuality is Punctuality.LATE
            counts.schedule_resets += punctuality is Punctuality.RESET
            self.late_at.append(now)

    def _settle(self, now: float) -> list[Action]:
        actions: list[Action] = []
        for track in self.playout.settle(now):
            actions.append(ResponseHeard(track.response_id))  # noqa: PERF401 - nearly always none
        if self._overtaken_by is not None:
            actions += self._overtake(self._overtaken_by, now)
        if self._draining and self.playout.speaking is None:
            if self._drained_by is None:
                self._drained_by = now + LAST_ECHO_S
            if now >= self._drained_by or not self.playout.awaits_echo:
                self._draining, self._drained_by = False, None
                actions.append(Drained())
        return actions

    def _drain(self, farewell: bytes, now: float) -> list[Action]:
        self._draining, self._drained_by = True, None
        self._end_wait(now)
        self.playout.discard_limbo()  # resumed, it would cut the farewell in two
        self.playout.complete_all()
        if farewell:
            self._say(FAREWELL, farewell, protected=True)
        return self._settle(now)

    def _owe(self, event: AnswerOwed) -> None:
        if self._draining:
            return
        if not self._dead_air.owed:
            self._not_owed = self.playout.response_ids | {event.behind}
        self._dead_air.owe(event.fallback, event.since)

    def _settle_by(self, response_id: str, now: float) -> None:
        """It is what the caller waits for, unless he was not waiting when it began."""
        if response_id not in self._not_owed:
            self._end_wait(now)

    def _end_wait(self, now: float) -> None:
        if not self._dead_air.at_rest:  # as it is but for the first delta
            self._dead_air.settle(now)
            self._note_dead_air()

    def _note_dead_air(self) -> None:
        self.counts.dead_air_s = round(self._dead_air.longest_s, 3)

    def _break_silence(self, now: float) -> None:
        """Say something ourselves, if the model has been silent for too long."""
        dry = self.playout.dry
        if not dry and self._dead_air.at_rest:
            return  # so it is with nearly every frame
        speaking = self.playout.speaking
        audible = speaking is not None and not dry
        if speaking is not None and audible:  # it may have come while nobody was sure
            self._settle_by(speaking.response_id, now)
        fallback = self._dead_air.listen(now, audible=audible, mid_sentence=dry)
        self._note_dead_air()
        if fallback is not None:
            self.counts.fallbacks += 1
            protected = speaking is not None and speaking.protected
            self._say(FALLBACK.format(self.counts.fallbacks), fallback, protected=protected)

    def _say(self, name: str, audio: bytes, *, protected: bool) -> None:
        """Behind what is to be heard, but before the rest of what the model cannot go on with."""
        self.own_audio_bytes += len(audio)
        self._not_owed |= {name}
        first = self.playout.dry
        self.playout.queue(name, name, 0, audio, protected=protected, first=first)
        self.playout.complete(name)

    # ---- barge-in

    def _floor(self) -> Floor:
        speaking = self.playout.speaking
        if speaking is None or not self._streaming:
            return Floor.FREE
        # While draining there is no model left to answer: an interruption would only cost the
        # caller the farewell.
        return Floor.PROTECTED if speaking.protected or self._draining else Floor.TAKEN

    def _weigh(self, evidence: Evidence, now: float) -> list[Action]:
        if isinstance(evidence, ModelHeardSpeech):
            self._end_wait(now)  # who speaks waits for nothing
        match self._barge_in.handle(evidence, self._floor(), now):
            case Verdict.INTERRUPT:
                return self._interrupt(evidence, now)
            case Verdict.INTERRUPT_AND_CONFIRM:
                return [*self._interrupt(evidence, now), *self._confirm(now)]
            case Verdict.CONFIRM:
                return self._confirm(now)
            case Verdict.DISMISS:
                return self._dismiss(now)
            case Verdict.GUARD:
                self.counts.barge_ins_guarded += 1
                self.onsets.note(evidence, Outcome.GUARDED, now)
            case Verdict.PASS:
                self.onsets.note(evidence, Outcome.UNOPPOSED, now)
            case Verdict.CONTINUE:
                self.onsets.note(evidence, Outcome.CONTINUED, now)
            case Verdict.PASS_CONFIRMED if not self._draining:
                if not self.playout.drop_waiting():
                    self._overtaken_by = evidence
                    return []
                self.playout.generation += 1
                self._wanted_from = self.playout.generation
                return [CallerSpoke(self.playout.generation)]
        return []

    def _overtake(self, evidence: Evidence, now: float) -> list[Action]:
        """The caller spoke over protected audio; what began behind it may be interrupted now."""
        floor = self._floor()
        if floor is Floor.PROTECTED:
            return []
        self._overtaken_by = None
        if floor is Floor.FREE:
            return []
        return [*self._interrupt(evidence, now), *self._confirm(now)]

    def _interrupt(self, evidence: Evidence, now: float) -> list[Action]:
        speaking = self.playout.speaking
        assert speaking is not None, "only what is audible is interrupted"
        self.counts.barge_in_events += 1
        self.counts.clears += 1
        flushed_before = self.playout.counts.flushed_bytes
        onset = self.onsets.open(evidence, now)
        onset.barge_in = self.counts.barge_in_events
        onset.response_id = speaking.response_id
        onset.heard = self.playout.flush(now)
        flushed_bytes = self.playout.counts.flushed_bytes - flushed_before
        onset.flushed_frames = flushed_bytes // FRAME_BYTES
        self._grid.restart(now)
        return [
            SendClear(),
            Interrupted(onset.barge_in, self.playout.generation, speaking.response_id),
        ]

    def _confirm(self, now: float) -> list[Action]:
        onset = self.onsets.close(Outcome.ACTED, now)
        if self.playout.may_be_cut:
            self.playout.flush(now)  # it came while nobody was sure, and was not played
        self.playout.discard_limbo()
        self._wanted_from = self.playout.generation
        return [BargeInConfirmed(self.playout.generation, onset.heard)]

    def _dismiss(self, now: float) -> list[Action]:
        self.counts.false_triggers += 1
        self.onsets.close(Outcome.RESUMED if self.playout.in_limbo else Outcome.FALSE, now)
        self.playout.resume()
        return [BargeInDismissed(), *self._settle(now)]  # what was resumed may be at its end

    def _debounced(self, event: OnsetDebounced, now: float) -> None:
        self.counts.onsets_debounced += 1
        if self._floor() is not Floor.FREE:
            self.onsets.note(event, Outcome.DEBOUNCED, now)

    # ---- watchdog

    def _report(self, playing: bool, now: float) -> list[Action]:
        """Tell the watchdog when playout starts, moves (at most once a second) or stops."""
        frames = self.counts.frames if playing else None
        reported = self._reported_frames
        if frames is None or reported is None:
            if frames is reported:
                return []
        elif now < self._reported_at + PROGRESS_S or frames <= reported:
            return []
        self._reported_frames = frames
        self._reported_at = now
        self._version += 1
        return [StateChanged(Owner.PLAYOUT, "idle" if frames is None else "playing", self._version)]

    def _reset(self, request: ResetRequest, now: float) -> list[Action]:
        owner, reason = Owner.PLAYOUT, request.reason
        if request.if_version != self._version:
            return [ResetRefused(owner, reason, Refusal.VERSION_MOVED)]
        if reason is not ResetReason.PLAYOUT_STALLED or not self.playout.frame_ready:
            return [ResetRefused(owner, reason, Refusal.NOT_STUCK)]
        self.counts.stuck_recoveries += 1
        self._grid.restart(now)
        return [ResetGranted(owner, reason)]
