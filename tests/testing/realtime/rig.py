"""A scripted client that talks to a `SimulatedRealtime` on an invented clock."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from callengine.audio import g711
from callengine.testing import speech
from callengine.testing.peer import Close
from callengine.testing.realtime.script import Behaviour, Reply
from callengine.testing.realtime.server import SimulatedRealtime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from callengine.testing.realtime.faults import Fault
    from callengine.testing.realtime.script import Replies

FRAME_S = 0.020
PHONE_SESSION: dict[str, Any] = {
    "type": "realtime",
    "audio": {
        "input": {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "gpt-transcribe"},
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 500},
        },
        "output": {"format": {"type": "audio/pcmu"}},
    },
}
OPENING = ["response.output_item.added", "conversation.item.added", "response.content_part.added"]
CLOSING = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "response.output_item.done",
    "conversation.item.done",
]
END = ["response.done", "rate_limits.updated"]
SHORT_REPLY = Reply(speech.clip("agent_greeting")[:8_000], "Good morning, how can I help?")
LONG_REPLY = Reply(speech.clip("agent_reply_1"), speech.text("agent_reply_1"))


def turn_detection(**settings: object) -> dict[str, Any]:
    """A session that is the phone session but for its server VAD."""
    turns = {"type": "server_vad", "silence_duration_ms": 500, **settings}
    return {"type": "realtime", "audio": {"input": {"turn_detection": turns}}}


def steady(types: list[str]) -> list[str]:
    """Event types without deltas, transcriptions and session events, whose places vary."""
    return [
        name
        for name in types
        if not name.endswith(".delta") and "input_audio_transcription" not in name
        if not name.startswith("session.")
    ]


class Talk:
    """One connection: say things, let time pass, look at what came."""

    def __init__(
        self,
        replies: Replies = (SHORT_REPLY,),
        behaviour: Behaviour | None = None,
        faults: Sequence[Fault] = (),
        *,
        session: dict[str, Any] | None = PHONE_SESSION,
        seed: int = 0,
    ) -> None:
        self.server = SimulatedRealtime(replies, behaviour=behaviour, faults=faults, seed=seed)
        self.record = self.server.record
        self.now = 1_000.0
        self.events: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.raw: list[str | bytes] = []
        self.closes: list[Close] = []
        self.server.opened(self.now)
        self._collect()
        if session is not None:
            self.say("session.update", session=session)

    def say(self, event_type: str, **body: object) -> None:
        """Send one client event."""
        self.say_raw(json.dumps({"type": event_type, **body}))

    def say_raw(self, message: str | bytes) -> None:
        """Send any message."""
        self.server.received(message, self.now)
        self._collect()

    def wait(self, seconds: float) -> None:
        """Let time pass, waking the server exactly when it wants."""
        until = self.now + seconds
        while (due := self.server.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self.server.advance(self.now)
            self._collect()
        self.now = until

    def append(self, audio: bytes) -> None:
        """Append audio, all at once."""
        self.say("input_audio_buffer.append", audio=base64.b64encode(audio).decode())

    def speak(self, audio: bytes) -> None:
        """Append audio in 20 ms frames, in real time."""
        for at in range(0, len(audio), g711.FRAME_BYTES):
            self.append(audio[at : at + g711.FRAME_BYTES])
            self.wait(FRAME_S)

    def create(self, **response: object) -> Talk:
        """Send a `response.create`; its `response` object is left out when it would be empty."""
        self.say("response.create", **({"response": response} if response else {}))
        return self

    def ask(self, clip_name: str = "caller_question_1") -> None:
        """Speak a whole turn of the caller, with the silence that ends it."""
        self.speak(speech.clip(clip_name) + g711.silence(600))

    def types(self) -> list[str]:
        """The types of all events that came, in order."""
        return [event["type"] for event in self.events]

    def all_of(self, event_type: str) -> list[dict[str, Any]]:
        """The events of one type."""
        return [event for event in self.events if event["type"] == event_type]

    def last(self, event_type: str) -> dict[str, Any]:
        """The latest event of one type."""
        return self.all_of(event_type)[-1]

    def done(self, number: int = 1) -> dict[str, Any]:
        """The response object of the `response.done` of the n-th response."""
        found: dict[str, Any] = next(
            event["response"]
            for event in self.all_of("response.done")
            if event["response"]["id"] == f"resp_sim{number:04d}"
        )
        return found

    def error_codes(self) -> list[str | None]:
        """The codes of all errors that came."""
        return [event["error"]["code"] for event in self.all_of("error")]

    def audio(self, response_id: str = "resp_sim0001") -> bytes:
        """The audio of one response as the client received it."""
        return b"".join(
            base64.b64decode(event["delta"])
            for event in self.all_of("response.output_audio.delta")
            if event["response_id"] == response_id
        )

    def _collect(self) -> None:
        for message in self.server.take_outgoing():
            if isinstance(message, Close):
                self.closes.append(message)
                continue
            self.raw.append(message)
            try:
                body = json.loads(message)
            except ValueError:
                continue
            if isinstance(body, dict):
                self.events.append(body)
                self.times.append(self.now)
