"""VADDetector: sole owner of whether the caller is speaking."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar, Final

from callengine.actors.shell import Shell
from callengine.audio.g711 import FRAME_BYTES, FRAME_S, SILENCE_FRAME
from callengine.machines.speech import Speech
from callengine.messages import (
    CallerFrame,
    FrameSent,
    OnsetDebounced,
    SpeechConfirmed,
    SpeechEnded,
    SpeechOnset,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loguru import Logger

    from callengine.actors.dispatch import Dispatcher
    from callengine.audio.level import Detector
    from callengine.machines.speech import SpeechEvent

MAX_SENT_FRAMES: Final = 50
"""Frames we sent that no frame of the caller has been judged against yet; the oldest go."""


class VADDetector(Shell):
    """Hears the caller's audio and what was sent; tells onsets and ends of speech."""

    ROUTES: ClassVar = {
        SpeechOnset: ("pacer",),
        SpeechConfirmed: ("pacer",),
        SpeechEnded: ("pacer",),
        OnsetDebounced: ("pacer",),
    }

    def __init__(
        self, dispatcher: Dispatcher, log: Logger, detector: Detector, *, onset_frames: int
    ) -> None:
        super().__init__(dispatcher, log)
        self._detector = detector  # what it has learned of the line's noise is kept
        self._onset_frames = onset_frames
        self.renew()

    def renew(self) -> None:
        """See `Shell.renew`. It begins in silence: an open barge-in has a deadline of its own."""
        self._speech = Speech(self._onset_frames)
        self._sent: deque[bytes] = deque(maxlen=MAX_SENT_FRAMES)
        self._audio = bytearray()

    def handle(self, message: CallerFrame | FrameSent, now: float) -> Iterable[object]:
        """See `Shell.handle`."""
        if isinstance(message, FrameSent):
            self._sent.append(message.payload)
            return ()
        if len(message.payload) == FRAME_BYTES and not self._audio:
            return self._judge(message.payload, now)  # as nearly all are: nothing is cut or joined
        return self._judge_all(message.payload, now)

    def _judge_all(self, audio: bytes, now: float) -> list[SpeechEvent]:
        """Take audio of any length; what is less than a frame waits for the next."""
        self._audio += audio
        frames = len(self._audio) // FRAME_BYTES
        events: list[SpeechEvent] = []
        for behind in range(frames - 1, -1, -1):
            frame = bytes(self._audio[:FRAME_BYTES])
            del self._audio[:FRAME_BYTES]
            events += self._judge(frame, now - behind * FRAME_S)
        return events

    def _judge(self, frame: bytes, now: float) -> list[SpeechEvent]:
        """Take the frame that ended at `now`."""
        sent = self._sent.popleft() if self._sent else SILENCE_FRAME
        return self._speech.frame(self._detector.judge(frame, sent), now)
