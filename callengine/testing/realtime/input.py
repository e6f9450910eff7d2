"""The input audio buffer of the simulated server: what is appended becomes turns of the caller.

Decides when a turn begins, ends and is transcribed, and asks for the automatic response. Everything
but transcripts and the idle timeout advances with the audio received only.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

from callengine.testing.realtime.audio import PCMU, AudioFormat
from callengine.testing.realtime.conversation import Item
from callengine.testing.realtime.record import SpeechEdge
from callengine.testing.realtime.rules import Refusal
from callengine.testing.realtime.script import Transcription, TranscriptionOutcome
from callengine.testing.realtime.vad import ServerVad, SpeechStarted

if TYPE_CHECKING:
    from callengine.testing.realtime.generation import Generation
    from callengine.testing.realtime.responses import Responses
    from callengine.testing.realtime.stage import Stage

MAX_APPEND_BYTES: Final = 15 * 1024 * 1024
MIN_COMMIT_MS: Final = 100


class InputBuffer:
    """Uncommitted caller audio, and the turn under way."""

    def __init__(self, stage: Stage, responses: Responses) -> None:
        self._stage = stage
        self._responses = responses
        self._vad = ServerVad()
        self._vad.configure(stage.session.turn_detection)
        self._uncommitted_bytes = 0
        self._item_id: str | None = None
        self._turns = 0
        self._quiet_since = 0
        responses.on_done = self._response_done

    def append(self, audio: str, now: float) -> None:
        """Take one append. Raises `Refusal` if it is no base64, or too much."""
        data = _decoded(audio)
        record, session = self._stage.record, self._stage.session
        record.appends_received += 1
        record.appended += data
        if session.input_format is not PCMU:
            record.misread_bytes += len(data)
        self._uncommitted_bytes += len(data)
        heard = b"" if self._stage.line.is_deaf else data
        for event in self._vad.hear(heard, session.input_format):
            if isinstance(event, SpeechStarted):
                self._speech_started(event.audio_start_ms, now)
            else:
                self._speech_stopped(event.audio_end_ms, now)
        self._stage.line.strike(now)

    def commit(self, now: float) -> None:
        """Make a turn of what is there; no response follows. Raises `Refusal` under 100 ms."""
        held_ms = self._uncommitted_bytes * 1000 / self._stage.session.input_format.bytes_per_s
        if held_ms < MIN_COMMIT_MS:
            raise Refusal(
                "input_audio_buffer_commit_empty",
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of "
                f"audio, but buffer only has {held_ms:.2f}ms of audio.",
            )
        self._vad.reset()
        self._commit(now)

    def clear(self, now: float) -> None:
        """Drop what was not committed."""
        self._vad.reset()
        self._uncommitted_bytes = 0
        self._item_id = None
        self._stage.line.send("input_audio_buffer.cleared", now)

    def session_changed(self, before: AudioFormat) -> None:
        """Use the turn detection and format now in force."""
        self._vad.configure(self._stage.session.turn_detection)
        after = self._stage.session.input_format
        if after is not before:
            self._vad.format_changed()
            held = self._uncommitted_bytes * after.bytes_per_s
            self._uncommitted_bytes = held // before.bytes_per_s

    def _speech_started(self, audio_start_ms: int, now: float) -> None:
        self._quiet_since += 1
        item_id = self._item_id = self._stage.conversation.new_id("u")
        name = "input_audio_buffer.speech_started"
        if self._stage.line.send(name, now, audio_start_ms=audio_start_ms, item_id=item_id):
            self._stage.record.speech_started.append(SpeechEdge(now, item_id, audio_start_ms))
        if (self._stage.session.turn_detection or {}).get("interrupt_response"):
            self._responses.interrupt(now)

    def _speech_stopped(self, audio_end_ms: int, now: float) -> None:
        item_id = self._item_id or self._stage.conversation.new_id("u")
        name = "input_audio_buffer.speech_stopped"
        if self._stage.line.send(name, now, audio_end_ms=audio_end_ms, item_id=item_id):
            self._stage.record.speech_stopped.append(SpeechEdge(now, item_id, audio_end_ms))
        self._commit(now)
        if (self._stage.session.turn_detection or {}).get("create_response"):
            self._respond(now)

    def _commit(self, now: float) -> None:
        item_id = self._item_id or self._stage.conversation.new_id("u")
        self._item_id = None
        self._uncommitted_bytes = 0
        self._quiet_since += 1
        before = self._stage.conversation.last_id()
        name = "input_audio_buffer.committed"
        self._stage.line.send(name, now, previous_item_id=before, item_id=item_id)
        content = [{"type": "input_audio", "transcript": None}]
        item = Item(item_id, "message", {"role": "user", "content": content})
        self._stage.add_item(item, now)
        if self._stage.session.transcribes:
            self._transcribe_later(item, now)

    def _respond(self, now: float) -> None:
        try:
            self._responses.create({}, now, automatic=True)
        except Refusal as refusal:
            # Nobody asked, so the error names no client event; the turn stays unanswered.
            self._stage.refuse(refusal, now)

    def _transcribe_later(self, item: Item, now: float) -> None:
        script = self._stage.behaviour.transcriptions
        heard = script[self._turns % len(script)]
        self._turns += 1
        if heard.outcome is not TranscriptionOutcome.NEVER:
            due = now + heard.after_s
            self._stage.agenda.at(due, lambda at: self._transcribed(item, heard, at))

    def _transcribed(self, item: Item, heard: Transcription, now: float) -> None:
        name = "conversation.item.input_audio_transcription"
        place: dict[str, Any] = {"item_id": item.id, "content_index": 0}
        if heard.outcome is TranscriptionOutcome.FAILED:
            error = {
                "type": "transcription_error",
                "code": "audio_unintelligible",
                "message": "The audio could not be transcribed.",
                "param": None,
            }
            self._stage.line.send(f"{name}.failed", now, **place, error=error)
            return
        item.fields["content"][0]["transcript"] = heard.text
        if heard.text:
            self._stage.line.send(f"{name}.delta", now, **place, delta=heard.text)
        usage = {"type": "duration", "seconds": 1.0}
        self._stage.line.send(f"{name}.completed", now, **place, transcript=heard.text, usage=usage)

    def _response_done(self, generation: Generation, now: float) -> None:
        """Arm the idle timeout, which counts from the end of the playout of that response."""
        idle_ms = (self._stage.session.turn_detection or {}).get("idle_timeout_ms")
        if idle_ms is None:
            return
        self._quiet_since += 1
        quiet_since = self._quiet_since
        due = now + (generation.record.audio_ms_sent + idle_ms) / 1000
        self._stage.agenda.at(due, lambda at: self._idle(quiet_since, idle_ms, at))

    def _idle(self, quiet_since: int, idle_ms: int, now: float) -> None:
        if self._quiet_since != quiet_since:
            return
        self._item_id = self._stage.conversation.new_id("u")
        end_ms = self._vad.position_ms
        self._stage.line.send(
            "input_audio_buffer.timeout_triggered",
            now,
            audio_start_ms=max(0, end_ms - idle_ms),
            audio_end_ms=end_ms,
            item_id=self._item_id,
        )
        self._commit(now)
        self._respond(now)


def _decoded(audio: str) -> bytes:
    refusal = Refusal(
        "invalid_value", "Invalid 'audio'. Expected base64-encoded audio bytes.", "audio"
    )
    try:
        data = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise refusal from None
    if len(data) > MAX_APPEND_BYTES:
        raise Refusal("invalid_value", "Invalid 'audio'. At most 15 MiB per append.", "audio")
    return data
