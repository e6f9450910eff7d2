"""Turn detection of the simulated server: where speech begins and ends in the audio received.

It counts audio, never time: while nothing is appended nothing happens (protocol facts: the server's
VAD advances with the audio written to the buffer). It refuses to know what a turn leads to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from callengine.testing.realtime.audio import VAD_FRAME_MS, AudioFormat

VOICED_MS_TO_START: Final = 60
RMS_AT_FULL_THRESHOLD: Final = 1_000
"""`threshold` 0.5, the default, asks for an RMS of 500 on the 16-bit scale."""

SEMANTIC_SILENCE_MS: Final = 500
"""`semantic_vad` is taken for a `server_vad` with this silence: no words are understood here."""


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """Speech began; `audio_start_ms` counts received audio and includes the prefix padding."""

    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The silence after speech was long enough; `audio_end_ms` includes that silence."""

    audio_end_ms: int


class ServerVad:
    """Level-based turn detection over whatever is appended, in 20 ms frames."""

    def __init__(self) -> None:
        self.position_ms = 0
        self.speaking = False
        self._settings: dict[str, Any] | None = None
        self._rest = b""
        self._voiced_ms = 0
        self._silent_ms = 0
        self._last_end_ms = 0

    def configure(self, turn_detection: dict[str, Any] | None) -> None:
        """Use the (validated) `turn_detection` of the session; None hears, but detects nothing."""
        if turn_detection is None:
            self.reset()
        self._settings = turn_detection

    def reset(self) -> None:
        """Forget the speech under way, as `input_audio_buffer.clear` does."""
        self.speaking = False
        self._voiced_ms = self._silent_ms = 0

    def hear(self, audio: bytes, audio_format: AudioFormat) -> list[SpeechStarted | SpeechStopped]:
        """Take appended bytes; a last piece shorter than a frame waits for the next append."""
        size = audio_format.frame_bytes()
        pending = self._rest + audio
        whole = len(pending) - len(pending) % size
        self._rest = pending[whole:]
        found = []
        for at in range(0, whole, size):
            event = self._frame(audio_format.level(pending[at : at + size]))
            if event is not None:
                found.append(event)
        return found

    def format_changed(self) -> None:
        """Drop the piece of a frame that was kept in the old format."""
        self._rest = b""

    def _frame(self, level: int) -> SpeechStarted | SpeechStopped | None:
        self.position_ms += VAD_FRAME_MS
        if self._settings is None:
            return None
        voiced = level >= self._settings.get("threshold", 0.5) * RMS_AT_FULL_THRESHOLD
        return self._during_speech(voiced) if self.speaking else self._before_speech(voiced)

    def _before_speech(self, voiced: bool) -> SpeechStarted | None:
        self._voiced_ms = self._voiced_ms + VAD_FRAME_MS if voiced else 0
        if self._voiced_ms < VOICED_MS_TO_START:
            return None
        onset_ms = self.position_ms - self._voiced_ms - self._setting("prefix_padding_ms", 300)
        self.speaking = True
        self._silent_ms = 0
        return SpeechStarted(max(onset_ms, self._last_end_ms))

    def _during_speech(self, voiced: bool) -> SpeechStopped | None:
        self._silent_ms = 0 if voiced else self._silent_ms + VAD_FRAME_MS
        if self._silent_ms < self._setting("silence_duration_ms", SEMANTIC_SILENCE_MS):
            return None
        self.reset()
        self._last_end_ms = self.position_ms
        return SpeechStopped(self.position_ms)

    def _setting(self, name: str, fallback: int) -> int:
        return int((self._settings or {}).get(name, fallback))
