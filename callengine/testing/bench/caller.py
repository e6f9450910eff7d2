"""A caller: when he is quiet and when he speaks, and the Twilio messages with his voice in them.

He asks, hears the answer, thinks, and asks again; some answers he interrupts while the model still
makes them. All of it is drawn from his seed. He is told the time and knows of no socket.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from callengine.testing.bench.codec import encode
from callengine.testing.bench.sounds import NOISE, REPLY_MS, SPEECH

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERRUPTED_SHARE: Final = 0.3
INTERRUPTS_AFTER_S: Final = (0.6, 2.6)
PAUSE_S: Final = (0.7, 1.3)

PATIENCE_S: Final = 8.0
"""Whoever hears no answer for so long after his question, or no end of it, asks again."""

REPLY_S: Final = REPLY_MS / 1000

TIMESTAMP_STEP_MS: Final = 19.97
"""Mean spacing of real media timestamps; each is rounded to a whole millisecond."""


@dataclass(slots=True)
class CallerCounts:
    """What he did. `frames` are those that were handed to the socket."""

    frames: int = 0
    questions: int = 0
    repeats: int = 0


class Caller:
    """What one caller says next, slot by slot.

    He first speaks within `first_words_s` of the beginning, or never if that is None.
    """

    def __init__(self, number: int, seed: int, first_words_s: float | None) -> None:
        self.counts = CallerCounts()
        self.number = number
        self._first_words_s = first_words_s
        self._rng = random.Random(f"{seed}/{number}")
        account, call, stream = (f"{self._rng.getrandbits(128):032x}" for _ in range(3))
        self.account_sid, self.call_sid, self.stream_sid = (
            f"AC{account}",
            f"CA{call}",
            f"MZ{stream}",
        )
        self._timestamp_ms = self._rng.randint(102, 171)
        self._sequence = 0
        self._chunk = 0
        self._saying = len(SPEECH)
        self._speak_at = float("inf")
        self._gives_up_at = float("inf")
        self._hushed = False
        self._tail = f'"}},"streamSid":"{self.stream_sid}"}}'.encode()

    # ---- the conversation

    def begin(self, now: float) -> None:
        """He is on the line."""
        if self._first_words_s is not None:
            self._speak_at = now + self._rng.uniform(0.0, self._first_words_s)

    def reply_began(self, now: float) -> None:
        """He hears the first of an answer, and decides whether to hear it out."""
        self._gives_up_at = now + REPLY_S + PATIENCE_S
        if self._rng.random() < INTERRUPTED_SHARE:
            self._speak_at = now + self._rng.uniform(*INTERRUPTS_AFTER_S)

    def reply_ended(self, plays_until: float) -> None:
        """The last of an answer has come; it will have played then."""
        self._speak_at = plays_until + self._rng.uniform(*PAUSE_S)
        self._gives_up_at = float("inf")

    def hush(self) -> None:
        """Begin no other sentence: it may be too late to be heard."""
        self._hushed = True

    def frame(self, now: float) -> tuple[bytes, bool]:
        """The WebSocket message of this slot; and whether he begins to speak with it."""
        if self._saying < len(SPEECH):
            payload, onset = SPEECH[self._saying], False
            self._saying += 1
        elif not self._hushed and (now >= self._speak_at or now >= self._gives_up_at):
            payload, onset = SPEECH[0], True
            self._begin_to_speak(now)
        else:
            payload, onset = NOISE[self._chunk % len(NOISE)], False
        return self._media(payload), onset

    def _begin_to_speak(self, now: float) -> None:
        self.counts.questions += 1
        self.counts.repeats += now >= self._gives_up_at
        self._saying = 1
        self._speak_at = float("inf")
        self._gives_up_at = now + PATIENCE_S

    # ---- the messages

    def _media(self, payload: bytes) -> bytes:
        self._sequence += 1
        self._chunk += 1
        self.counts.frames += 1
        timestamp_ms = self._timestamp_ms + round(self._chunk * TIMESTAMP_STEP_MS)
        message = (
            b'{"event":"media","sequenceNumber":"%d","media":{"track":"inbound","chunk":"%d",'
            b'"timestamp":"%d","payload":"%b%b'
            % (self._sequence, self._chunk, timestamp_ms, payload, self._tail)
        )
        return encode(message, masked=True)

    def connected(self) -> bytes:
        """The greeting of the protocol."""
        return _message({"event": "connected", "protocol": "Call", "version": "1.0.0"})

    def start(self) -> bytes:
        """The stream begins; a parameter tells which call of the bench it is."""
        start = {
            "accountSid": self.account_sid,
            "streamSid": self.stream_sid,
            "callSid": self.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"call": str(self.number)},
        }
        return self._event("start", start)

    def mark(self, name: str) -> bytes:
        """The echo of a mark."""
        return self._event("mark", {"name": name})

    def stop(self) -> bytes:
        """He has hung up."""
        return self._event("stop", {"accountSid": self.account_sid, "callSid": self.call_sid})

    def _event(self, name: str, body: Mapping[str, object]) -> bytes:
        self._sequence += 1
        event = {"event": name, "sequenceNumber": str(self._sequence), name: body}
        return _message({**event, "streamSid": self.stream_sid})


def _message(event: Mapping[str, object]) -> bytes:
    return encode(json.dumps(event, separators=(",", ":")).encode(), masked=True)
