"""Where every byte of model audio is on its way to the caller's ear: queued, sent, heard.

Positions are bytes of one response's audio; an item is a stretch of them. What the caller heard is
an estimate with two sources. The carrier plays back to back from arrival, so the times at which we
sent give the latest position the caller can have reached. Echoed marks tell how far behind that
the ear really is.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, TypeAlias

from callengine.audio.g711 import (
    BYTES_PER_MS,
    FRAME_BYTES,
    FRAME_MS,
    FRAME_S,
    SAMPLE_RATE_HZ,
    SILENCE_BYTE,
)
from callengine.machines.marks import Marks
from callengine.machines.track import Track
from callengine.machines.transmission_terms import PlayoutCounts

if TYPE_CHECKING:
    from callengine.messages import HeardItem

MAX_QUEUED_BYTES: Final = 600 * SAMPLE_RATE_HZ
"""Ten minutes, what Twilio itself would hold. Audio beyond is refused and counted."""

MAX_ITEMS: Final = 256
"""Items that are queued, in limbo or being heard. Audio of one more is refused and counted."""

FRAMES_PER_MARK: Final = 200 // FRAME_MS
"""A mark every 200 ms of audio: often enough to trust, rare enough to cost nothing."""

LOOK_AGAIN_S: Final = 0.2

_SAMPLE_SLACK: Final = 0.01
"""Of a sample: times are floats, and rounding must not cost the sample that ends exactly now."""


# Tuples, as there is one of each for every frame: they cost a fifth of an object.

Frame: TypeAlias = tuple[bytes, str | None]
"""160 bytes to send; a mark to send behind it, if one is due."""

_Sent: TypeAlias = tuple[Track, bytes, float]
"""A frame that the carrier holds or is playing: its audio without padding, when it plays."""


class Playout:
    """The ledger of one call's outbound audio.

    To the byte, at any moment:
    `received = (sent - returned) + queued + flushed + stale + overflow`. Returned is what had been
    sent and was dropped by the carrier on our clear; flushed includes it, and what is in limbo.
    """

    def __init__(self, mark_every_frames: int) -> None:
        self.generation = 0
        self.counts = PlayoutCounts()
        self._mark_every_frames = mark_every_frames
        self._tracks: deque[Track] = deque()
        self._limbo: list[Track] = []
        self._sent: deque[_Sent] = deque()
        self._plays_until = float("-inf")
        self._marks = Marks(self.counts)
        self._frames_since_mark = 0
        self._ordinal = 0
        self._look_again_at = float("-inf")

    # ---- questions

    @property
    def speaking(self) -> Track | None:
        """The response the caller is hearing, or is in the middle of; None in silence."""
        return self._tracks[0] if self._tracks else None

    @property
    def dry(self) -> bool:
        """The caller is in the middle of a response, and has heard all that came of it."""
        return not self._sent and bool(self._tracks) and self._sending() is None

    @property
    def may_be_cut(self) -> bool:
        """There is something to be heard that is not protected."""
        return any(not track.protected for track in self._tracks)

    @property
    def response_ids(self) -> frozenset[str]:
        """The responses of which something is to be heard, or was cut and may be resumed."""
        return frozenset(track.response_id for track in (*self._tracks, *self._limbo))

    @property
    def frame_ready(self) -> bool:
        """There is a frame to send."""
        return self._sending() is not None

    @property
    def queued_bytes(self) -> int:
        """Audio not sent yet, limbo not included."""
        return sum(len(track.queued) for track in self._tracks)

    @property
    def heard_at(self) -> float | None:
        """When all that was sent will have been heard, or to look again; None if it was."""
        if not self._sent:
            return None
        return max(self._plays_until + (self._marks.delay_s or 0.0), self._look_again_at)

    @property
    def awaits_echo(self) -> bool:
        """The last mark is under way, on a line that has echoed one before."""
        return self._marks.awaits_echo

    @property
    def in_limbo(self) -> bool:
        """A response that was cut goes on if the barge-in is dismissed: some of it was flushed, or
        more of it is to come."""
        return any(not track.over for track in self._limbo)

    def _sending(self) -> Track | None:
        """The response that the next frame is cut from: a whole frame can be cut, or the tail that
        is all there will be."""
        for track in self._tracks:
            queued_bytes = len(track.queued)
            if queued_bytes >= FRAME_BYTES or (track.complete and queued_bytes):
                return track
            if not track.complete:
                return None  # its next frame comes before any later response
        return None

    # ---- audio

    def queue(
        self,
        response_id: str,
        item_id: str,
        content_index: int,
        audio: bytes,
        *,
        protected: bool,
        first: bool = False,
    ) -> None:
        """Take audio of the current generation; `first` is heard before what is there."""
        self.counts.received_bytes += len(audio)
        if not self._has_room(response_id, item_id, content_index, len(audio)):
            self.counts.overflow_bytes += len(audio)
            return
        track = self._tracks[-1] if self._tracks else None
        if first or track is None or track.response_id != response_id:
            if track is not None and not first:
                track.complete = True  # the model has one response at a time
            self._ordinal += 1
            track = Track(response_id, self._ordinal, self.generation, protected)
            (self._tracks.appendleft if first else self._tracks.append)(track)
        track.append(item_id, content_index, audio)

    def queue_outdated(
        self,
        response_id: str,
        item_id: str,
        content_index: int,
        audio: bytes,
        *,
        wanted: bool = False,
    ) -> None:
        """Take audio that was under way at the interruption: it goes where its response is.

        That is limbo while it may still be wanted, and the queue if it was resumed meanwhile. If
        it is the first of its response there is no such place yet; `wanted` tells whether it is
        to be made.
        """
        self.counts.received_bytes += len(audio)
        if not self._has_room(response_id, item_id, content_index, len(audio)):
            self.counts.overflow_bytes += len(audio)
            return
        track = self._outdated_track(response_id)
        if track is None and wanted:
            track = self._begin_outdated(response_id)
        if track is None:
            self.counts.stale_bytes += len(audio)
            return
        track.append(item_id, content_index, audio)
        if track in self._limbo:
            self.counts.flushed_bytes += len(audio)

    def _outdated_track(self, response_id: str) -> Track | None:
        for track in self._limbo:
            if track.response_id == response_id:
                return track
        for track in self._tracks:
            if track.response_id == response_id and track.generation < self.generation:
                return track
        return None

    def _begin_outdated(self, response_id: str) -> Track:
        """Behind what was cut; an open interruption has cut something."""
        self._ordinal += 1
        track = Track(response_id, self._ordinal, self.generation - 1, protected=False)
        (self._limbo or self._tracks).append(track)
        return track

    def _has_room(
        self, response_id: str, item_id: str, content_index: int, size_bytes: int
    ) -> bool:
        """Neither is ten minutes of audio there already, nor are there too many pieces of it."""
        queued_bytes = items = 0
        tracks = (*self._tracks, *self._limbo)
        for track in tracks:
            queued_bytes += len(track.queued)
            items += len(track.items)
        if queued_bytes + size_bytes > MAX_QUEUED_BYTES:
            return False
        if items < MAX_ITEMS:
            return True
        return any(track.continues(response_id, item_id, content_index) for track in tracks)

    def complete(self, response_id: str) -> None:
        """No more audio will come for this response."""
        for track in (*self._tracks, *self._limbo):
            if track.response_id == response_id:
                track.complete = True

    def complete_all(self) -> None:
        """No more audio will come at all."""
        for track in self._tracks:
            track.complete = True

    def next_frame(self, now: float) -> Frame | None:
        """Cut the next 160 bytes and note them as sent."""
        track = self._sending()
        if track is None:
            return None
        queued, counts = track.queued, self.counts
        audio = bytes(queued[:FRAME_BYTES])
        del queued[:FRAME_BYTES]  # moves where it begins, not what is in it
        counts.sent_bytes += len(audio)
        counts.padding_bytes += FRAME_BYTES - len(audio)
        if self._plays_until < now:
            self._marks.audio_begins(now - self._plays_until)
            self._plays_until = now
        self._sent.append((track, audio, self._plays_until))
        self._plays_until += FRAME_S
        return audio.ljust(FRAME_BYTES, SILENCE_BYTE), self._mark_behind(track)

    # ---- marks

    def probe(self, now: float) -> str:
        """The name of a mark to send while nothing is queued, to learn the round trip."""
        self._plays_until = now
        return self._new_mark(ordinal=0, position=0)

    def _mark_behind(self, track: Track) -> str | None:
        position = track.received - len(track.queued)
        self._frames_since_mark += 1
        first = position <= FRAME_BYTES
        last = track.complete and not track.queued
        if not first and not last and self._frames_since_mark < self._mark_every_frames:
            return None
        self._frames_since_mark = 0
        return self._new_mark(track.ordinal, position)

    def _new_mark(self, ordinal: int, position: int) -> str:
        name = f"g{self.generation}-r{ordinal}-{position // BYTES_PER_MS:06d}"
        return self._marks.sent(name, ordinal, self._plays_until)

    def mark_echoed(self, name: str, now: float) -> None:
        """Learn from an echo; one that a clear caused teaches nothing."""
        self._marks.echoed(name, now)

    def stood_still(self, now: float) -> None:
        """Nobody looked until now; the carrier has played on."""
        self._marks.stood_still(now)

    # ---- heard and flush

    def settle(self, now: float) -> list[Track]:
        """Move what was heard by `now` off the ledger; returns the responses heard to their end."""
        delay_s = self._marks.delay_s or 0.0
        stuck_at = self._marks.stuck_at(now)
        sent = self._sent
        while sent:
            track, audio, plays_at = sent[0]
            if plays_at + FRAME_S + delay_s > now:
                break
            if plays_at >= stuck_at:
                self._look_again_at = now + LOOK_AGAIN_S
                break
            sent.popleft()
            track.heard += len(audio)
        over: list[Track] = []
        while self._tracks and self._tracks[0].over:
            over.append(self._tracks.popleft())
        return over

    @property
    def hearing(self) -> tuple[HeardItem, ...]:
        """What was heard so far of each item of the responses that were not heard to their end."""
        tracks = (*self._tracks, *self._limbo)
        return tuple(item for track in tracks for item in track.heard_items())

    def drop_waiting(self) -> bool:
        """Drop what waits behind the response the caller hears, and may be interrupted.

        False, and nothing is dropped, if frames of it are at the carrier: these cannot be called
        back alone.
        """
        waiting = [track for track in list(self._tracks)[1:] if not track.protected]
        if any(len(track.queued) < track.received for track in waiting):
            return False
        for track in waiting:
            self._tracks.remove(track)
            self.counts.flushed_bytes += track.received
        return True

    def flush(self, now: float) -> tuple[HeardItem, ...]:
        """Interrupt: drop everything not heard into limbo, under a new generation.

        What is protected waits where it is, and is sent again if the carrier had it already.
        Returns how much was heard of each item of the other responses that were not heard to their
        end.
        """
        self.settle(now)
        self._split_playing_frame(now)
        self.generation += 1
        self._marks.cleared()
        while self._sent:
            track, audio, _ = self._sent.pop()
            track.queued[:0] = audio
            self.counts.returned_bytes += len(audio)
        self._plays_until = now
        self._limbo = [track for track in self._tracks if not track.protected]
        self._tracks = deque(track for track in self._tracks if track.protected)
        self.counts.flushed_bytes += sum(len(track.queued) for track in self._limbo)
        return tuple(item for track in self._limbo for item in track.heard_items())

    def _split_playing_frame(self, now: float) -> None:
        """Count the part of the frame now playing that was heard."""
        if not self._sent:
            return
        track, audio, plays_at = self._sent[0]
        if plays_at >= self._marks.stuck_at(now):
            return
        played_s = now - (self._marks.delay_s or 0.0) - plays_at
        played = int(played_s * SAMPLE_RATE_HZ + _SAMPLE_SLACK)
        heard = min(max(played, 0), len(audio))
        track.heard += heard
        self._sent[0] = track, audio[heard:], plays_at

    def resume(self) -> None:
        """Play what was flushed after all, from where the caller stopped hearing it."""
        self.counts.flushed_bytes -= sum(len(track.queued) for track in self._limbo)
        self._tracks.extendleft(reversed(self._limbo))
        self._limbo = []

    def discard_limbo(self) -> None:
        """The barge-in is confirmed: what was flushed will never be played."""
        self._limbo = []
